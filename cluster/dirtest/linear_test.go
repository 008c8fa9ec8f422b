package dirtest

import (
	"testing"

	"github.com/rollcall-go/rollcall/cluster"
)

// The check finds calls that cannot have taken place one after the other, and lets all others be.
func TestCallsThatHaveNoOrderAreFound(t *testing.T) {
	write := func(began, ended int64, prev, version uint64) call {
		return call{began: began, ended: ended, prev: cluster.Version(prev), version: cluster.Version(version), wrote: true, body: "x"}
	}
	look := func(began, ended int64, version uint64) call {
		c := call{began: began, ended: ended, looks: true, version: cluster.Version(version)}
		if version > 0 {
			c.body = "x"
		}
		return c
	}
	remove := func(began, ended int64, prev uint64) call {
		return call{began: began, ended: ended, removes: true, prev: cluster.Version(prev), wrote: true}
	}
	for what, c := range map[string]struct {
		calls []call
		right bool
	}{
		"one after the other":                 {[]call{look(1, 2, 0), write(3, 4, 0, 5), look(5, 6, 5), remove(7, 8, 5), look(9, 10, 0), write(11, 12, 0, 6)}, true},
		"a look beside a write, before it":    {[]call{write(1, 4, 0, 5), look(2, 3, 0)}, true},
		"a look beside a write, after it":     {[]call{write(1, 4, 0, 5), look(2, 3, 5)}, true},
		"a look that sees what was not there": {[]call{look(1, 2, 5), write(3, 4, 0, 5)}, false},
		"a look that sees what is past":       {[]call{write(1, 2, 0, 5), write(3, 4, 5, 6), look(5, 6, 5)}, false},
		"a look that misses a write":          {[]call{write(1, 2, 0, 5), look(3, 4, 0)}, false},
		"a look that misses a removal":        {[]call{write(1, 2, 0, 5), remove(3, 4, 5), look(5, 6, 5)}, false},
		"a look that sees another body":       {[]call{write(1, 2, 0, 5), {began: 3, ended: 4, looks: true, version: 5, body: "y"}}, false},
		"two writes over one version":         {[]call{write(1, 2, 0, 5), write(3, 6, 5, 6), write(4, 5, 5, 7)}, false},
		"a removal twice":                     {[]call{write(1, 2, 0, 5), remove(3, 6, 5), remove(4, 5, 5)}, false},
		"versions against the calls":          {[]call{write(3, 4, 0, 5), write(1, 2, 5, 6)}, false},
		"a write refused over what is there":  {[]call{write(1, 2, 0, 5), {began: 3, ended: 4, prev: 5, version: 5, body: "x"}}, false},
	} {
		if err := inOneOrder(c.calls); (err == nil) != c.right {
			t.Errorf("%s: %v", what, err)
		}
	}
}
