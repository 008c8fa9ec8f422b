package admin

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	sampleEvery = time.Second
	secondsKept = 60
	// An hour is kept by a sample of each half minute, for a chart of 120 points.
	longEvery = 30
	longKept  = 120
)

// sample is what the counters said at one moment.
type sample struct {
	at              time.Time
	users, sessions int
	logons, refused uint64
	ends            map[protocol.CloseCode]uint64
	in, out         protocol.Traffic
	dropped         uint64
	waiting         int64
}

// sampler keeps the samples of the last minute and those of the last hour.
type sampler struct {
	mu             sync.Mutex
	seconds, longs []sample // the oldest first, with one more than are shown, since a rate is between two
	n              int      // samples since the last one of longs
}

func (s *sampler) add(p sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seconds = keep(s.seconds, p, secondsKept+1)
	if len(s.longs) == 0 || s.n+1 >= longEvery {
		s.longs, s.n = keep(s.longs, p, longKept+1), 0
		return
	}
	s.n++
}

// keep appends p to the samples, and drops the oldest one beyond most.
func keep(all []sample, p sample, most int) []sample {
	if len(all) == most {
		copy(all, all[1:])
		all[most-1] = p
		return all
	}
	return append(all, p)
}

// takeSamples is the sampler's goroutine.
func (a *Admin) takeSamples() {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		select {
		case <-a.ended:
			return
		case <-t.C:
			a.samples.add(a.sample())
		}
	}
}

// sample reads the counters.
func (a *Admin) sample() sample {
	u := a.cfg.Users.Stats()
	p := sample{at: time.Now(), users: u.Users, sessions: u.Sessions, logons: u.Logons, ends: u.Disconnected}
	for _, n := range u.Refused {
		p.refused += n
	}
	for _, e := range a.cfg.Engines {
		s := e.Engine.Stats()
		p.in.Messages += s.In.Messages
		p.in.Bytes += s.In.Bytes
		p.out.Messages += s.Out.Messages
		p.out.Bytes += s.Out.Bytes
		p.dropped += s.Dropped.Messages
		p.waiting += s.OutboundQueue
	}
	return p
}

// series are columns of numbers over time, the oldest first: one for each step. Rates are per second. Nothing is at a step before New.
type series struct {
	Step        float64              `json:"step"` // seconds
	End         time.Time            `json:"end"`  // of the last step
	Users       []int                `json:"users"`
	Sessions    []int                `json:"sessions"`
	Logons      []float64            `json:"logons"`
	Refused     []float64            `json:"refused"`
	Ends        map[string][]float64 `json:"ends"` // by the code's name; codes with which a session has ended in this time
	InMessages  []float64            `json:"inMessages"`
	InBytes     []float64            `json:"inBytes"`
	OutMessages []float64            `json:"outMessages"`
	OutBytes    []float64            `json:"outBytes"`
	Dropped     []float64            `json:"dropped"`
	Waiting     []int64              `json:"waiting"` // bytes
}

// shown returns the series of the last minute and of the last hour. The last step of the hour may be shorter than the others: it ends now.
func (s *sampler) shown() (minute, hour series) {
	s.mu.Lock()
	seconds, longs := slices.Clone(s.seconds), slices.Clone(s.longs)
	s.mu.Unlock()
	if last := seconds[len(seconds)-1]; last.at.After(longs[len(longs)-1].at) {
		longs = append(longs, last)
	}
	return seriesOf(seconds, sampleEvery), seriesOf(longs[max(0, len(longs)-longKept-1):], longEvery*sampleEvery)
}

func seriesOf(all []sample, step time.Duration) series {
	n := len(all) - 1
	v := series{Step: step.Seconds(), End: all[n].at, Users: []int{}, Sessions: []int{}, Logons: make([]float64, n), Refused: make([]float64, n),
		Ends: make(map[string][]float64), InMessages: make([]float64, n), InBytes: make([]float64, n), OutMessages: make([]float64, n),
		OutBytes: make([]float64, n), Dropped: make([]float64, n), Waiting: make([]int64, n)}
	for code, total := range all[n].ends {
		if total != all[0].ends[code] {
			v.Ends[codeName(code)] = make([]float64, n)
		}
	}
	for i := range n {
		p, q := &all[i], &all[i+1]
		span := q.at.Sub(p.at).Seconds()
		rate := func(before, after uint64) float64 {
			if span <= 0 || after < before {
				return 0
			}
			return math.Round(float64(after-before)/span*100) / 100
		}
		v.Users, v.Sessions, v.Waiting[i] = append(v.Users, q.users), append(v.Sessions, q.sessions), q.waiting
		v.Logons[i], v.Refused[i] = rate(p.logons, q.logons), rate(p.refused, q.refused)
		for code, total := range q.ends {
			if column := v.Ends[codeName(code)]; column != nil {
				column[i] = rate(p.ends[code], total)
			}
		}
		v.InMessages[i], v.InBytes[i] = rate(p.in.Messages, q.in.Messages), rate(p.in.Bytes, q.in.Bytes)
		v.OutMessages[i], v.OutBytes[i] = rate(p.out.Messages, q.out.Messages), rate(p.out.Bytes, q.out.Bytes)
		v.Dropped[i] = rate(p.dropped, q.dropped)
	}
	return v
}

// byName are counts by the names of codes.
func byName(counts map[protocol.CloseCode]uint64) map[string]uint64 {
	all := make(map[string]uint64, len(counts))
	for code, n := range counts {
		all[codeName(code)] += n
	}
	return all
}
