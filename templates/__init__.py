"""Templates of the kernels, one ``<stage>.py.jinja`` each; shared macros in ``_*.jinja``.

- Control lines are Python comments: ``#% for``, ``#% if``; template comments ``#-``.
- What changes the shape of the code is a Jinja branch; a number is a named constant of the rendered
  file; a run-time fact is an argument. Never one choice in two of these.
- A rendered file stands alone and holds nothing unused: docstring, imports, constants, one kernel.
- The parameters are, in this order, the spec's inputs, outputs and scalars; a test compares them.
- Addresses are int64; loads and stores are masked pointers or tensor descriptors.
- ``codegen.render.context`` lists the variables a template sees.
"""
