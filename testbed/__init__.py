"""What tests, the compatibility matrix and the soak runs share: tiny models, caches on them, and ways to
watch them."""

from demo.host.inprocess import import_host, import_pack

# Its modules import both.
import_pack()
import_host()
