package table

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

type thing struct {
	key  int
	hash uint64
}

func hashOf(t *thing) uint64 { return t.hash }

func find(t *Table[thing], key int, hash uint64) *thing {
	return t.Find(hash, func(x *thing) bool { return x.key == key })
}

// hashes are what a table must live with: good ones, ones that name few groups, ones with few tags, and one for all.
var hashes = map[string]func(key int) uint64{
	"good":       func(key int) uint64 { return uint64(key+1) * 0x9E3779B97F4A7C15 },
	"few groups": func(key int) uint64 { return uint64(key%3)<<30 | uint64(key)<<57 },
	"few tags":   func(key int) uint64 { return uint64(key) << 24 & 0xFFFFFFFF },
	"all equal":  func(int) uint64 { return 1<<63 | 7 },
}

// A table answers as a map does, whatever is done to it, and shrinks when it is emptied.
func TestAgainstAMap(t *testing.T) {
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var tab Table[thing]
			want := make(map[int]*thing)
			const keys = 300
			for round := range 40 {
				coming := []int{95, 50, 5}[round%3] // of a hundred changes
				for range 500 {
					key := r.IntN(keys)
					old := want[key]
					if got := find(&tab, key, hash(key)); got != old {
						t.Fatalf("found %p for %d, want %p", got, key, old)
					}
					x := &thing{key, hash(key)}
					switch comes := r.IntN(100) < coming; {
					case comes && old == nil:
						tab.Add(x, hashOf)
						want[key] = x
					case comes:
						tab.Replace(old, x, hashOf)
						want[key] = x
					case old != nil:
						if tab.Remove(x, hashOf) {
							t.Fatal("another thing with the same key was removed")
						}
						if !tab.Remove(old, hashOf) || tab.Remove(old, hashOf) {
							t.Fatal("Remove does not tell what it has done")
						}
						delete(want, key)
					}
				}
				check(t, &tab, want)
			}
			for _, x := range want {
				tab.Remove(x, hashOf)
			}
			clear(want)
			check(t, &tab, want)
		})
	}
}

// check compares all that is in the table, and looks at how it is filled.
func check(t *testing.T, tab *Table[thing], want map[int]*thing) {
	t.Helper()
	seen := make(map[int]bool)
	if !tab.All(func(x *thing) bool {
		if seen[x.key] || want[x.key] != x {
			t.Fatalf("%d is listed, seen before: %v", x.key, seen[x.key])
		}
		seen[x.key] = true
		return true
	}) {
		t.Fatal("All says that it was stopped")
	}
	if len(seen) != len(want) || tab.Len() != len(want) {
		t.Fatalf("%d are listed, Len is %d, want %d", len(seen), tab.Len(), len(want))
	}
	checkBatches(t, tab, want, 0)
	for _, x := range want {
		checkBatches(t, tab, want, x.hash)
		break
	}
	if slots := tab.groups.Load().slots(); slots > groupSlots && slots*sparseNum > len(want)*sparseDen {
		t.Fatalf("%d slots for %d things", slots, len(want))
	}
}

// checkBatches looks at the batches from a hash on: all that belongs there is in one, by the lowest 32 bits of its hash.
func checkBatches(t *testing.T, tab *Table[thing], want map[int]*thing, from uint64) {
	t.Helper()
	last := int64(-1) // of the batch before
	seen := make(map[int]bool)
	tab.Batches(from, hashOf, func(batch []Hashed[thing]) bool {
		greatest := last
		for _, b := range batch {
			x := b.Thing
			if seen[x.key] || want[x.key] != x || b.Hash != x.hash {
				t.Fatalf("%d is in a batch, seen before: %v", x.key, seen[x.key])
			}
			if int64(uint32(x.hash)) <= last {
				t.Fatalf("%d is in a batch behind that of %d", uint32(x.hash), last)
			}
			greatest = max(greatest, int64(uint32(x.hash)))
			seen[x.key] = true
		}
		last = greatest
		return true
	})
	for _, x := range want {
		if uint32(x.hash) >= uint32(from) && !seen[x.key] {
			t.Fatalf("%d, with the hash %x, is in no batch from %x on", x.key, x.hash, from)
		}
	}
}

func TestAllStopsWhenToldTo(t *testing.T) {
	var tab Table[thing]
	if !tab.All(func(*thing) bool { return false }) || find(&tab, 0, 0) != nil || tab.Remove(new(thing), hashOf) {
		t.Error("something is in the zero Table")
	}
	for key := range 20 {
		tab.Add(&thing{key, uint64(key)}, hashOf)
	}
	n := 0
	if tab.All(func(*thing) bool { n++; return n < 7 }) || n != 7 {
		t.Errorf("listed %d", n)
	}
	n = 0
	if tab.Batches(0, hashOf, func([]Hashed[thing]) bool { n++; return false }); n != 1 {
		t.Errorf("%d batches, want one", n)
	}
}

// What stays is found, and listed once, whatever else comes and goes; what is found is what was looked for.
func TestLookingWhileOthersChange(t *testing.T) {
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			const stay, change, looks = 40, 200, 20_000
			var tab Table[thing]
			var mu sync.Mutex
			for key := range stay {
				tab.Add(&thing{key, hash(key)}, hashOf)
			}
			var done atomic.Bool
			var changing, looking sync.WaitGroup
			for w := range 2 {
				changing.Go(func() { // each of its own keys
					r := rand.New(rand.NewPCG(3, uint64(w)))
					mine := make(map[int]*thing)
					for !done.Load() {
						key := stay + 2*r.IntN(change/2) + w
						x := &thing{key, hash(key)}
						mu.Lock()
						switch old := mine[key]; {
						case old == nil:
							tab.Add(x, hashOf)
							mine[key] = x
						case r.IntN(3) == 0:
							tab.Replace(old, x, hashOf)
							mine[key] = x
						default:
							tab.Remove(old, hashOf)
							delete(mine, key)
						}
						mu.Unlock()
					}
				})
			}
			for w := range 2 {
				looking.Go(func() {
					r := rand.New(rand.NewPCG(4, uint64(w)))
					for i := range looks {
						key := r.IntN(stay + change)
						if x := find(&tab, key, hash(key)); x == nil && key < stay || x != nil && x.key != key {
							t.Errorf("found %v for %d", x, key)
							return
						}
						if i%200 == 0 {
							listed, batched := 0, 0
							tab.All(func(x *thing) bool {
								if x.key < stay {
									listed++
								}
								return true
							})
							tab.Batches(0, hashOf, func(batch []Hashed[thing]) bool {
								for _, b := range batch {
									if b.Thing.key < stay {
										batched++
									}
								}
								return true
							})
							if listed != stay || batched != stay {
								t.Errorf("of those who stay %d are listed, and %d in batches, want %d", listed, batched, stay)
								return
							}
						}
					}
				})
			}
			looking.Wait()
			done.Store(true)
			changing.Wait()
		})
	}
}

// A table points to its present slots itself, so that the garbage collector reaches them before the things, and to no earlier slots.
func TestPointsToItsSlots(t *testing.T) {
	var table Table[thing]
	direct := func(when string) {
		t.Helper()
		if groups := table.groups.Load(); len(table.all) != len(groups.all) || &table.all[0] != &groups.all[0] {
			t.Errorf("%s the table points to other slots than those that lookups use", when)
		}
	}
	var things []*thing
	for key := range 1000 {
		things = append(things, &thing{key, hashes["good"](key)})
		table.Add(things[key], hashOf)
		direct("when it grows")
	}
	for _, p := range things {
		table.Remove(p, hashOf)
		direct("when it shrinks")
	}
}
