"""The public key of each WireGuard device of the file, read from its private key once that exists."""

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from routerd.errors import PluginError, ProviderError
from routerd.model import specs
from routerd.model.intent import Intent, Named
from routerd.model.names import PublicKey
from routerd.plugins.tunnel_modes import checked_key
from routerd.process.supervisor import Supervisor
from routerd.reconcile.guard import asked
from routerd.reconcile.knowledge import Knowledge
from routerd.spi import Clock, EncryptingTransport, Logger

_READ_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class DeviceKeys:
    """Reads the keys into `knowledge`; `knowledge.waiting` names those that are missing."""

    transports: Callable[[], Mapping[str, EncryptingTransport]]
    knowledge: Knowledge
    supervisor: Supervisor
    clock: Clock
    log: Logger
    plugins: Mapping[str, str]
    wake: Callable[[], None]

    def start(self, intent: Callable[[], Intent]) -> None:
        """Read the keys in the background, also those of a later configuration."""
        if not self.transports():
            return
        for found in intent().of(specs.WireGuardInterfaceSpec):
            if found.spec.private_key_file is not None:
                self.knowledge.waiting[f"key/{found.name}"] = "starting"
        self.supervisor.keep("keys", lambda: self._run(intent))

    async def _run(self, intent: Callable[[], Intent]) -> None:
        while True:
            missing = [not await self._read(each) for each in intent().of(specs.WireGuardInterfaceSpec)]
            await self.clock.sleep(1.0 if any(missing) else 5.0)

    async def _read(self, device: Named[specs.WireGuardInterfaceSpec]) -> bool:
        """Read one key unless it is known; return whether nothing is missing."""
        file, name = device.spec.private_key_file, f"key/{device.name}"
        transport = self.transports().get(device.spec.mode)
        if device.name in self.knowledge.public_keys or file is None or transport is None:
            return True
        try:
            key = await self._ask(device.spec.mode, transport, file)
        except (ProviderError, PluginError) as error:
            self.knowledge.waiting[name] = str(error)
            return False
        self.knowledge.waiting.pop(name, None)
        self.knowledge.public_keys[device.name] = key
        self.wake()
        return True

    async def _ask(self, mode: str, transport: EncryptingTransport, file: Path) -> PublicKey:
        owner = f"transport/{mode}"
        key: object = await asked(
            lambda: transport.public_key(file),
            log=self.log,
            table=owner,
            call="ask",
            what="public_key",
            deadline=_READ_SECONDS,
            plugin=self.plugins.get(owner, ""),
        )
        return checked_key(mode, key)
