//go:build linux

package nodes

import (
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/histogram"
)

// PageFigures are what was found of listing the users of a cluster and counting them, with nothing else going on.
type PageFigures struct {
	Page    Spread // a page of a listing, its default size
	Users   int    // how many were online
	Listed  int    // users of a whole listing, each counted once
	Counted int    // users by Node.Count
	Count   Spread // a count that asks the store and the other nodes
}

// MeasurePages measures listings and counts of s.Users users, evenly on all nodes, by each node in turn. The server must be empty.
func MeasurePages(s Settings) (f PageFigures, err error) {
	f.Users = s.Users
	err = run(s, func(w *world) error {
		if err := parallel(64, func(g int) error {
			for i := g; i < s.Users; i += 64 {
				if _, err := w.logOn(w.nodes[i%len(w.nodes)].users, userID(i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if err := f.list(w, s); err != nil {
			return err
		}
		return f.count(w, s)
	})
	return f, err
}

// list times the pages of listings, one at a time.
func (f *PageFigures) list(w *world, s Settings) error {
	var h histogram.Histogram
	for i, end := 0, time.Now().Add(s.For); i == 0 || time.Now().Before(end); i++ {
		seen := make(map[string]struct{}, s.Users)
		listed := 0
		for from := ""; ; {
			began := time.Now()
			page, err := w.nodes[i%len(w.nodes)].UserPage(w.ctx, from, 0)
			if err != nil {
				return err
			}
			h.Record(time.Since(began))
			for _, u := range page.Items {
				seen[u.UserID] = struct{}{}
			}
			listed += len(page.Items)
			if from = page.Next; from == "" {
				break
			}
		}
		if listed != len(seen) {
			return fmt.Errorf("a listing has %d users %d times", len(seen), listed)
		}
		if i == 0 || len(seen) != s.Users {
			f.Listed = len(seen)
		}
	}
	f.Page = spread(&h)
	return nil
}

// count times counts, one at a time. A node asks the store anew when its last count is a second old.
func (f *PageFigures) count(w *world, s Settings) error {
	var h histogram.Histogram
	for i, end := 0, time.Now().Add(s.For); i == 0 || time.Now().Before(end); i++ {
		began := time.Now()
		a, err := w.nodes[i%len(w.nodes)].Count(w.ctx)
		if err != nil {
			return err
		}
		h.Record(time.Since(began))
		if len(a.Missing) > 0 || a.Value.Sessions != s.Users {
			return fmt.Errorf("%d sessions were counted of %d; missing: %q", a.Value.Sessions, s.Users, a.Missing)
		}
		if i == 0 || a.Value.Users != s.Users {
			f.Counted = a.Value.Users
		}
		if i%len(w.nodes) == len(w.nodes)-1 {
			time.Sleep(time.Second)
		}
	}
	f.Count = spread(&h)
	return nil
}
