internal import Hummingbird
import ServiceLifecycle
print(1)
