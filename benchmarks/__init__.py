"""Speed of compiled networks beside other runtimes. See README.md."""
