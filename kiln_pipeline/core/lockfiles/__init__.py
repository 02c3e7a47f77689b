"""Lock files of pip, uv, Poetry and PDM: what they pin, and what of it a target needs. Texts in, values out, no I/O.

`model` has the types, one module each reads a format, `parse` chooses among them, `target_markers` evaluates markers for a
target, `outlook` says where each pinned release's wheel would come from, `installer_config` writes the way to our index.
"""
