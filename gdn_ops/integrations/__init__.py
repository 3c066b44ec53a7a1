"""gdn_ops inside other libraries; each module imports its library only when it is used."""
