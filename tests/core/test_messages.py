"""Every function that builds an exception or a warning is reached by a test."""

from wrong_calls.arguments import ARGUMENTS
from wrong_calls.indices import INDICES
from wrong_calls.messages import messages, other_messages
from wrong_calls.outs import OUTS

# Other test files reach these. They need a certain backend, a missing or broken one, or a machine without memory.
ELSEWHERE = {
    "backend_class",
    "broken_backend",
    "compiled",
    "cannot_wait",
    "unnamed_size",
    "devices_differ",
    "failing_cuda",
    "fixed_arrays",
    "foreign_byte_order",
    "forked_after_cuda",
    "four_sizes",
    "gradient",
    "inexact_mask",
    "kind_not_installed",
    "malformed_plugin",
    "missing_backend",
    "missing_driver",
    "missing_framework",
    "missing_library",
    "missing_packages",
    "missing_nvrtc",
    "no_backend",
    "no_device",
    "no_namespace",
    "no_translations",
    "not_a_module",
    "not_arrays",
    "not_a_pair",
    "not_batched",
    "not_dense",
    "not_positive",
    "not_whole",
    "old_driver",
    "inference_out",
    "out_of_gradient",
    "recorded_sizes",
    "reserved_plugin",
    "rival_plugins",
    "symbolic_array",
    "two_sizes",
    "plane_too_large",
    "unimportable_kind",
    "unknown_form",
    "unknown_kind",
    "unknown_rank",
    "unknown_sizes",
    "unnamed_format",
    "unscriptable",
    "unserved_device",
    "unpoolable",
    "unserved_window",
    "unsupported_format",
    "wrong_device",
    "unknown_size",
    "uncertain_size",
    "unknown_chunks",
    "no_window_in_chunks",
    "blocks_differ",
    "outside_chunk",
    "not_a_count",
    "not_a_picture",
    "old_framework",
    "own_input",
    "too_few_pixels",
    "unbuilt_kernels",
    "unknown_ending",
    "unreadable_file",
    "unwritable_file",
}


def test_no_message_is_left_out():
    tables = (*ARGUMENTS.values(), *INDICES.values(), *(case for case, _ in OUTS.values()))
    reached = {case.by for case in tables} | {"overlapping_out"}
    assert {*messages(), *other_messages()} == reached | ELSEWHERE
