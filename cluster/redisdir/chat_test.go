package redisdir_test

import (
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Packages presence and chat over a real server: messages, notices and states pass from node to node by its channels (rules P20, P23, P29).
func TestPresenceAndChatOverRedis(t *testing.T) {
	redis, store := startServer(t), chat.NewMemory()
	nodes := chattest.NewNodes(t, 2, chat.Config{}, func(i int) (cluster.Config, chat.Store) {
		c := connect(t, redis.addr)
		mesh := redisdir.NewMesh(c, redisdir.MeshConfig{Logger: zap.NewNop()})
		t.Cleanup(mesh.Close)
		return cluster.Config{Directory: open(t, c, redisdir.Config{}), Mesh: mesh, Name: string(rune('a' + i)), Lease: lease}, store
	})
	ann, bob := nodes.All[0].LogOn("ann"), nodes.All[1].LogOn("bob")
	ann.RequestFriend("bob")
	bob.WantHeard("P39", "contact asked ann it is me")
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "1")
	ann.WantHeard("P39", "contact friends bob")
	bob.WantHeard("P39", "contact friends ann")

	testkit.Eventually(t, "ann's answer to Watch has bob", func() bool { return slices.Equal(ann.Watch(), []string{"bob online"}) })
	bob.Must(protocol.TypePresence, protocol.PresenceSet, nil, "state", "busy")
	ann.Sees("P20", "bob", "busy")
	bob.Must(protocol.TypePresence, protocol.PresenceSet, nil, "state", "stealth")
	ann.Sees("P23", "bob", "offline")

	ann.Say("bob", "are you there?")
	bob.WantHeard("P29", "ann>bob#1 ann: are you there?")
	bob.Say("ann", "to you I am")
	ann.WantHeard("P29", "bob>ann#2 bob: to you I am")
	group := bob.Create()
	ann.Join(group)
	bob.WantHeard("P29", "group "+group+" joined ann")
	bob.Say(group, "hello")
	ann.WantHeard("P29", "group "+group+" joined ann", group+"#1 bob: hello")
}
