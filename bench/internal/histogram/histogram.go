// Package histogram counts durations in buckets. The width of a bucket grows with its duration, so that the relative
// error of a percentile is at most 1.6 %.
package histogram

import (
	"math/bits"
	"time"
)

// A power of two is divided into so many buckets.
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// Histogram counts durations. The zero value is empty and ready to use.
type Histogram struct {
	counts [64 * subBuckets]uint64
	total  uint64
}

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// Add counts all that o has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// Count returns how many durations were counted.
func (h *Histogram) Count() uint64 { return h.total }

// Percentile returns the duration that p percent of the durations do not exceed, to the upper bound of its bucket.
func (h *Histogram) Percentile(p float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(p/100*float64(h.total)+0.5), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return time.Duration(upper(i))
		}
	}
	return time.Duration(upper(len(h.counts) - 1))
}

// bucket returns where v is counted: values below subBuckets have buckets of their own; above, the bits after the
// leading one choose.
func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets
}

// upper returns the largest value that bucket i counts.
func upper(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(i%subBuckets)+subBuckets+1)<<shift - 1
}
