"""Plants a wrong kernel in every Python process whose path leads here; see ``tests.gpu.planting``.

On the stand-in GPU it also does what the sitecustomize does that it hides.
"""

import os

from tests.gpu.planting import plant

if os.environ.get("GDN_STAND_IN"):
    from tests.stand_in import install

    install()
plant()
