"""What tests of several folders share. Helpers are imported by their path from the root, as from here.

`waiting`: the one way to wait for something that other processes do.
`loopback`: the lab's emulated clouds on loopback, for the official SDKs in the same process.
`openapi`: the enrollment listener as an OpenAPI document, for a fuzzer.
`guest_kernel`: a guest's routing table behind `ip`, for the emulated Proxmox VE host.
`vectors`: a claim with its published text, proofs and digests.
`aws_world`: one VPC on loopback, with changes of its routes by us and by others.

The worlds, each beside the tests that use it most:

| World | What is in it |
|---|---|
| tests.netns.daemon_world | one daemon in a namespace of its own; its configuration, log and control socket |
| tests.netns.lab_world | `routerd lab` as a person runs it: commands, verdicts, ends |
| tests.netns.site_scenario | the lab's four sites, two leaves at one of them, and faults in turn |
| tests.netns.two_reflectors_world | two reflectors, two leaves with a client each, flows that count losses |
| tests.unit.plugins.plugin_world | plugins written to disk as distributions, and nothing else installed |
| tests.unit.admission.enrollment_world | a reflector, a leaf and a clock, in one process |
| tests.cloud.chaos_world | one site of each cloud over its emulator, with failing calls and rivals |
| tests.interop.fabric | reflectors and leaves of routerd, BIRD, FRR and GoBGP in namespaces |
| tests.vm.fabric_world | two sites and a hub on the kernel's tunnels, by routerd or by hand |
| tests.vm.host_world | a host with three packet filters, strict reverse paths and foreign devices |
| plugins.transport_ipip.tests.ipip_world | two hosts and a wire, for every mode and backend |
| plugins.transport_wireguard.tests.wireguard_world | hosts, keys and wires, for either backend |
"""
