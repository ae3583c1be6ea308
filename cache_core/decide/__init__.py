"""Which steps are computed: rules that decide, lists made before a run, and what is compared."""
