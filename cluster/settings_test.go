package cluster_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Every number in the Config, set to what makes the least sense, is refused by an error that names it, or two nodes work with it. With the least number
// that is one they may miss each other's answers.
func TestEveryNumberOfANodeIsRefusedByNameOrWorks(t *testing.T) {
	config := reflect.TypeOf(cluster.Config{})
	tried := 0
	for i := range config.NumField() {
		field := config.Field(i)
		for _, n := range []int64{-1, 1, math.MinInt64, math.MaxInt64} {
			set := func(c *cluster.Config) {
				c.Lease, c.Renew = 0, 0
				switch v := reflect.ValueOf(c).Elem().Field(i); {
				case !field.IsExported():
				case v.CanInt():
					v.SetInt(n)
				case v.CanUint():
					v.SetUint(uint64(n) >> (64 - v.Type().Bits()))
				}
			}
			if kind := field.Type.Kind(); !field.IsExported() || kind != reflect.Int && kind != reflect.Int64 && kind != reflect.Uint8 {
				continue
			}
			tried++
			t.Run(fmt.Sprint(field.Name, "=", n), func(t *testing.T) {
				cfg := cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh(), Logger: zap.NewNop()}
				set(&cfg)
				if _, err := cluster.New(cfg); err != nil {
					if !strings.Contains(err.Error(), field.Name) {
						t.Errorf("the error is %v", err)
					}
					return
				}
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 0, usermgr.Config{})
					w.change = set
					a, b := w.addNode(), w.addNode()
					w.awaitNodes()
					w.mustLogOn(a, "ann", 0)
					w.mustLogOn(b, "ann", 0)
					w.mustLogOn(a, "bob", 0)
					if err := b.send("bob", "hello", nil); err != nil {
						t.Error(err)
					}
					want(t, a.sessions.take(), "bob@a: hello")
					if c, err := a.Count(context.Background()); n != 1 && (err != nil || c.Value.Sessions != 2 || len(c.Missing) > 0) {
						t.Errorf("the count is %+v, %v", c, err)
					}
					w.settled()
				})
			})
		}
	}
	if tried < 28 {
		t.Errorf("only %d settings were tried", tried)
	}
}

// Times that do not fit each other are refused, and the error says why.
func TestTimesOfANodeMustFitEachOther(t *testing.T) {
	for says, cfg := range map[string]cluster.Config{
		"more than a quarter of Lease":      {Lease: 4 * lease, Renew: lease + 1},
		"leaves no time for two renewals":   {Lease: lease, Renew: renew, Margin: lease - 2*renew},
		"is neither Closed nor Open":        {StoreLost: 2},
		"needs a Directory and a Mesh: see": {},
	} {
		if !strings.Contains(says, "Directory") {
			cfg.Directory, cfg.Mesh = memory.New(), memory.NewMesh()
		}
		if _, err := cluster.New(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, want one that says %q", err, says)
		}
	}
}
