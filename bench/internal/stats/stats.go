// Package stats sums up repeated measurements by their median and quartiles, which one disturbed run does not move.
package stats

import (
	"fmt"
	"slices"
)

// Quartiles sum up a series of measurements.
type Quartiles struct{ Q1, Median, Q3 float64 }

// Of returns the quartiles of values; of none, zeroes.
func Of(values []float64) Quartiles {
	s := slices.Sorted(slices.Values(values))
	return Quartiles{quantile(s, 0.25), quantile(s, 0.5), quantile(s, 0.75)}
}

// Ratios returns the quartiles of a[i]/b[i]: of runs that alternated, each divided by its neighbour, so that what
// disturbs both does not count.
func Ratios(a, b []float64) Quartiles {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return Of(ratios)
}

// quantile interpolates between the two nearest of the sorted values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// String is the form in which a ratio is reported: the median, and the quartiles in brackets.
func (q Quartiles) String() string { return fmt.Sprintf("%.3f [%.3f–%.3f]", q.Median, q.Q1, q.Q3) }
