"""Pictures in pages have twice the pixels, so that they are sharp on any screen."""

c = get_config()  # noqa: F821
c.InlineBackend.figure_formats = {"retina"}
