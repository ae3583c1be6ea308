"""Which steps are worth computing, from calibrated products of outputs or from what any model does."""
