"""The results database: tables, migrations, records in and out."""
