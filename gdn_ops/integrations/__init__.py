"""Run other libraries on gdn_ops. Importing a module here does not import its library."""
