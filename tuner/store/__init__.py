"""The results database: tables, migrations, and the records it stores."""
