//! Gateway, agents, fleet, central's API and store
