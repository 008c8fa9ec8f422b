package histogram

import (
	"testing"
	"time"
)

func TestBucketsAreNarrowAndInOrder(t *testing.T) {
	for v := uint64(1); v < 1<<40; v += v/50 + 1 {
		i := bucket(v)
		if upper(i) < v || i > 0 && upper(i-1) >= v {
			t.Fatalf("%d is in bucket %d, which ends at %d; the one before ends at %d", v, i, upper(i), upper(i-1))
		}
		if width := float64(upper(i)-v) / float64(v); width > 1.0/subBuckets {
			t.Fatalf("%d is told as %d", v, upper(i))
		}
	}
}

func TestPercentiles(t *testing.T) {
	var h, rest Histogram
	for i := 1; i <= 500; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
		rest.Record(time.Duration(500+i) * time.Microsecond)
	}
	h.Add(&rest)
	for p, want := range map[float64]time.Duration{
		50: 500 * time.Microsecond, 99: 990 * time.Microsecond, 99.9: 999 * time.Microsecond, 100: time.Millisecond,
	} {
		if got := h.Percentile(p); got < want || got > want+want/subBuckets {
			t.Errorf("p%v is %v, want %v or a little more", p, got, want)
		}
	}
	if h.Count() != 1000 {
		t.Errorf("counted %d, want 1000", h.Count())
	}
}

func TestAnEmptyHistogramHasNoPercentiles(t *testing.T) {
	if got := new(Histogram).Percentile(99); got != 0 {
		t.Errorf("p99 is %v, want 0", got)
	}
}
