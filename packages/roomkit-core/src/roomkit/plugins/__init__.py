"""How a plugin is written and found.

A plugin imports `hookimpl` from here and implements the hooks it needs (`roomkit.plugins.hookspecs`).
Everything is loaded at first use, so registering a plugin imports nothing but pluggy.
"""

from typing import TYPE_CHECKING

from roomkit._names import lazy_names as lazy_names

if TYPE_CHECKING:
    from roomkit.plugins.commands import Commands as Commands
    from roomkit.plugins.components import Component as Component
    from roomkit.plugins.components import ComponentKind as ComponentKind
    from roomkit.plugins.components import ComponentState as ComponentState
    from roomkit.plugins.config import ComponentPlan as ComponentPlan
    from roomkit.plugins.config import KitPlan as KitPlan
    from roomkit.plugins.config import load_config as load_config
    from roomkit.plugins.construction import KitParts as KitParts
    from roomkit.plugins.construction import build_components as build_components
    from roomkit.plugins.doctor import DoctorReport as DoctorReport
    from roomkit.plugins.errors import BlockingImportError as BlockingImportError
    from roomkit.plugins.errors import ComponentNotFoundError as ComponentNotFoundError
    from roomkit.plugins.errors import ConfigError as ConfigError
    from roomkit.plugins.errors import MixedInstallationError as MixedInstallationError
    from roomkit.plugins.errors import PluginBlockedError as PluginBlockedError
    from roomkit.plugins.errors import PluginBrokenError as PluginBrokenError
    from roomkit.plugins.errors import PluginError as PluginError
    from roomkit.plugins.errors import PluginHooksError as PluginHooksError
    from roomkit.plugins.errors import PluginIncompatibleError as PluginIncompatibleError
    from roomkit.plugins.errors import RouteClashError as RouteClashError
    from roomkit.plugins.hookspecs import hookimpl as hookimpl
    from roomkit.plugins.manager import PluginManager as PluginManager
    from roomkit.plugins.manager import default_manager as default_manager
    from roomkit.plugins.registry import Registry as Registry
    from roomkit.plugins.schema import json_schema as json_schema
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "BlockingImportError": "errors",
            "Commands": "commands",
            "Component": "components",
            "ComponentKind": "components",
            "ComponentNotFoundError": "errors",
            "ComponentPlan": "config",
            "ComponentState": "components",
            "ConfigError": "errors",
            "DoctorReport": "doctor",
            "KitParts": "construction",
            "KitPlan": "config",
            "MixedInstallationError": "errors",
            "PluginBlockedError": "errors",
            "PluginBrokenError": "errors",
            "PluginError": "errors",
            "PluginHooksError": "errors",
            "PluginIncompatibleError": "errors",
            "PluginManager": "manager",
            "Registry": "registry",
            "RouteClashError": "errors",
            "build_components": "construction",
            "default_manager": "manager",
            "hookimpl": "hookspecs",
            "json_schema": "schema",
            "load_config": "config",
        },
    )
