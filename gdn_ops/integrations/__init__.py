"""Running models of other libraries on gdn_ops. Importing a module does not import its library."""
