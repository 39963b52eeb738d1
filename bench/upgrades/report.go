package upgrades

import "github.com/graceinit/graceinit/bench/result"

// Figures TODO
func (r *Result) Figures() []result.Figure { return nil }

// TimeLines TODO
func (r *Result) TimeLines() []result.Series { return nil }
