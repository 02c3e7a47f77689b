"""What the status page and `kiln status` say, as values, and the small table behind the plot of missing wheels over time."""
