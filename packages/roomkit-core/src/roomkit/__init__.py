"""RoomKit: one conversation over many channels.

Every public name of the first-party packages is found here, and loaded at first use: importing
`roomkit` imports no plugin, no SDK and no pydantic. A name whose distribution is not installed says
what to install.
"""

__version__ = "1.0.0"

TYPE_CHECKING = False  # what checkers know as typing's, without the cost of importing it
if TYPE_CHECKING:
    from roomkit._exports import *  # noqa: F403
else:
    from roomkit._exports import HOMES
    from roomkit._names import reexport

    __getattr__, __dir__ = reexport(__name__, HOMES)
    del HOMES, reexport
