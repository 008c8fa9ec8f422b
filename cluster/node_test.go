package cluster_test

import (
	"context"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A node works for the one user manager that has it as its Claims, and says what is wrong where there is none or a second one.
func TestANodeWorksForOneUserManager(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if err := n.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "usermgr.Config.Claims") {
		t.Errorf("Run without a user manager returned %v", err)
	}
	users := testkit.Must(usermgr.New(usermgr.Config{Claims: n, HeartbeatTimeout: -1}))
	defer users.Close(context.Background())
	defer func() {
		if v, _ := recover().(string); !strings.Contains(v, "two user managers") {
			t.Errorf("a second user manager led to the panic %q", v)
		}
	}()
	_, _ = usermgr.New(usermgr.Config{Claims: n, HeartbeatTimeout: -1})
}
