"""What MLServer is told to use in place of its own parts."""

import mlserver
import mlserver.grpc.server
import mlserver.rest.server
import mlserver.server
from mlserver.repository import SchemalessModelRepository

from leankeras.errors import ModelError
from leankeras.serving.rest import FairServer, strict_app
from leankeras.serving.rpc import StrictServicer, add_strict_handlers


class Repository(SchemalessModelRepository):
    """MLServer's repository, which it imports before it builds its servers.

    ``settings.json`` names it, so that a plain ``mlserver start`` uses ours.

    Raises:
        ModelError: this MLServer is built in another way than 1.7.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        http, rpc = mlserver.rest.server, mlserver.grpc.server
        for module, name, own in (
            (mlserver.server, "RESTServer", FairServer),
            (http, "create_app", strict_app),
            (rpc, "InferenceServicer", StrictServicer),
            (rpc, "add_GRPCInferenceServiceServicer_to_server", add_strict_handlers),
            (rpc, "add_ModelRepositoryServiceServicer_to_server", lambda *_: None),
        ):
            if not hasattr(module, name):
                raise ModelError(
                    f"MLServer {mlserver.__version__} has no {module.__name__}.{name}; install 1.7"
                )
            setattr(module, name, own)
