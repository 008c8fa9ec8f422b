package engine

import (
	"reflect"
	"testing"
)

// What is written whenever a connection comes or goes shares no cache line with what each read and each Send look at: otherwise a
// message would wait for memory each time that another processor takes in a connection.
func TestConnectionsThatComeDoNotDisturbMessages(t *testing.T) {
	const line = 64
	type span struct {
		name       string
		start, end uintptr
	}
	engine := reflect.TypeFor[Engine]()
	spans := func(names ...string) (all []span) {
		for _, name := range names {
			f, ok := engine.FieldByName(name)
			if !ok {
				t.Fatalf("an Engine has no %s", name)
			}
			start := f.Offset
			if len(f.Index) > 1 { // of an embedded struct
				start += engine.Field(f.Index[0]).Offset
			}
			all = append(all, span{name, start, start + f.Type.Size()})
		}
		return all
	}
	conns, _ := engine.FieldByName("conns")
	open, _ := conns.Type.FieldByName("open")
	shards, _ := conns.Type.FieldByName("shards")
	written := append(spans("gate", "handshakes", "mu", "accepted", "opened", "states", "closed", "outcomes"),
		span{"conns.open", conns.Offset + open.Offset, conns.Offset + open.Offset + open.Type.Size()},
		span{"conns.shards", conns.Offset + shards.Offset, conns.Offset + shards.Offset + shards.Type.Size()})
	read := spans("cfg", "plainLimit", "maxBody", "limits", "admission", "handlers", "loops", "pool")
	for _, w := range written {
		for _, r := range read {
			if r.end+line > w.start && w.end+line > r.start {
				t.Errorf("%s (%d to %d) lies beside %s (%d to %d)", w.name, w.start, w.end, r.name, r.start, r.end)
			}
		}
	}
	if size := shards.Type.Elem().Size(); size%line != 0 {
		t.Errorf("a shard of the connections takes %d bytes, no whole lines", size)
	}
}
