"""Templates of the kernels: ``triton/`` and ``torch/``, and in ``macros/`` what they share.

- A stage's spec names its template; stages whose code differs in a few places share one.
- A template reads from top to bottom: a legend, signature, constants, code. A macro is for what
  several kernels share, or for what one repeats; a file of macros says what names it expects.
- Control lines are Python comments: ``#% for``, ``#% if``; template comments ``#-``.
- What changes the shape of the code is a Jinja branch; a number is a named constant of the rendered
  file; a run-time fact is an argument. Never one choice in two of these.
- A rendered file stands alone and holds nothing unused: docstring, imports, constants, one kernel.
- The parameters are, in this order, the spec's inputs, outputs and scalars; a test compares them.
- Addresses are int64; loads and stores are masked pointers or tensor descriptors.
- ``codegen.render.context`` lists the variables a template sees.
"""
