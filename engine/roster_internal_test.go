package engine

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// Connections that come, also a little out of turn, and go, are in the roster once each, in the order of their IDs, and in
// blocks of which two neighbours are never nearly empty.
func TestARosterIsWhatASortedListWouldBe(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var r roster
		var list, early []*Conn
		for id := uint64(1); id < 5000; id++ {
			c := &Conn{id: id}
			if rnd.IntN(10) == 0 { // comes when others have
				early = append(early, c)
			} else {
				r.add(c)
				list = append(list, c)
			}
			if len(early) > rnd.IntN(20) {
				r.add(early[0])
				list, early = append(list, early[0]), early[1:]
			}
			for len(list) > 0 && rnd.IntN(1000) < int(seed)*45 {
				i := rnd.IntN(len(list))
				r.remove(list[i])
				r.remove(list[i]) // a second time it is not there
				list = slices.Delete(list, i, i+1)
			}
		}
		slices.SortFunc(list, func(a, b *Conn) int { return cmp.Compare(a.id, b.id) })
		var got []*Conn
		for last := uint64(0); ; last = got[len(got)-1].id {
			n := len(got)
			if got = r.after(last, got); len(got) == n {
				break
			}
		}
		if !slices.Equal(got, list) {
			t.Fatalf("seed %d: %d connections, others than the %d there are", seed, len(got), len(list))
		}
		if most := 2 + 4*len(list)/rosterBlock; len(r.blocks) > most {
			t.Errorf("seed %d: %d connections in %d blocks", seed, len(list), len(r.blocks))
		}
		for _, b := range r.blocks {
			if len(b) == 0 || len(b) > rosterBlock {
				t.Fatalf("seed %d: a block of %d", seed, len(b))
			}
		}
	}
}
