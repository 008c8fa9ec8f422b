package main

import (
	"testing"
	"time"
)

// Sixty waits that are evenly distributed are near, also where each attempt takes a few milliseconds; other clients' waits are far.
func TestDistanceTellsFullJitterFromOthers(t *testing.T) {
	const limit = 300 * time.Millisecond
	for name, c := range map[string]struct {
		wait func(part float64) float64 // of the limit, for the parts from 0 to 1
		near bool
	}{
		"full jitter":               {func(p float64) float64 { return p }, true},
		"with 10 ms for an attempt": {func(p float64) float64 { return p + 1.0/30 }, true},
		"half jitter":               {func(p float64) float64 { return (1 + p) / 2 }, false},
		"no jitter":                 {func(float64) float64 { return 1 }, false},
		"no wait":                   {func(float64) float64 { return 0 }, false},
		"a third of the limit":      {func(p float64) float64 { return p / 3 }, false},
	} {
		var waits []time.Duration
		for i := range 60 {
			waits = append(waits, time.Duration(c.wait((float64(i)+0.5)/60)*float64(limit)))
		}
		if d := distance(waits, limit); (d <= mostDistance) != c.near {
			t.Errorf("%s has the distance %.2f, and %.2f is the critical one", name, d, mostDistance)
		}
	}
}
