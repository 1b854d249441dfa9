"""Stopping trials that will not reach the bar: settings, pure policies over curves, a thin scheduler for Ray Tune."""
