package client

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Full jitter: from 0 to the bound, both included, and the bound doubles from least to most.
func TestBackoffUsesAllOfItsBounds(t *testing.T) {
	bounds := []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000}
	for name, random := range map[string]func(int64) int64{
		"least": func(int64) int64 { return 0 },
		"most":  func(n int64) int64 { return n - 1 },
	} {
		b := backoff{least: 200 * time.Millisecond, most: 5 * time.Second, random: random}
		for i, bound := range bounds {
			want := bound * time.Millisecond
			if name == "least" {
				want = 0
			}
			if got := b.next(); got != want {
				t.Errorf("the %s before attempt %d is %v, want %v", name, i, got, want)
			}
		}
	}
}

// docs/protocol.md, Backoff with full jitter: the wait is evenly distributed between 0 and the bound.
func TestBackoffIsEvenlyDistributed(t *testing.T) {
	const draws, parts = 20_000, 10
	b := backoff{least: time.Second, most: time.Second, random: rand.New(rand.NewPCG(1, 2)).Int64N}
	var counts [parts]int
	for range draws {
		counts[min(int(b.next()*parts/time.Second), parts-1)]++
	}
	for i, n := range counts { // the standard deviation is 42
		if n < draws/parts-250 || n > draws/parts+250 {
			t.Errorf("%d of %d waits lie in part %d of %d", n, draws, i, parts)
		}
	}
}

func TestBackoffSurvivesManyAttemptsAndOddBounds(t *testing.T) {
	most := func(n int64) int64 { return n - 1 }
	for _, tc := range []struct {
		b    backoff
		want time.Duration
	}{
		{backoff{least: 1, most: time.Hour, attempt: 1 << 30}, time.Hour},
		{backoff{least: time.Hour, most: time.Second}, time.Second},
		{backoff{least: never, most: never, attempt: 5}, never},
		{backoff{least: -1, most: time.Second}, 0},
	} {
		tc.b.random = most
		if got := tc.b.next(); got != tc.want {
			t.Errorf("%v to %v: %v, want %v", tc.b.least, tc.b.most, got, tc.want)
		}
	}
}
