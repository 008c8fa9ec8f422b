package redisdir_test

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// network has two nodes, each in a network namespace of its own, with three links: to the server, to the other node, and to the clients,
// who are in the test's namespace, as the server is. A link takes a net of four addresses.
type network struct {
	t      testing.TB
	spaces [2]string
	a, b   *process
}

// at returns an address of a link: 0 is the node's link to the server, 1 that to the clients, 2 that between the nodes.
func (n *network) at(node, link, end int) string {
	if link == 2 {
		node = 0
	}
	return fmt.Sprintf("198.18.%d.%d", 100+10*node+link, end)
}

// device is the name of a node's link at the node.
func device(link int) string { return []string{"store", "clients", "mesh"}[link] }

// networks counts those of this process: the system takes its time to remove one.
var networks atomic.Int32

func newNetwork(t *testing.T) *network {
	n := &network{t: t}
	id := os.Getpid()%1000*10 + int(networks.Add(1))%10 // a device's name has 15 letters at most
	var err error
	do := func(args ...string) {
		if err == nil {
			err = testkit.IP(args...)
		}
	}
	for i := range n.spaces {
		n.spaces[i] = fmt.Sprintf("rc%d%c", id, 'a'+i)
		do("netns", "add", n.spaces[i])
	}
	var devices []string
	t.Cleanup(func() {
		for _, device := range devices {
			_ = testkit.IP("link", "del", device)
		}
		for _, space := range n.spaces {
			_ = testkit.IP("netns", "del", space)
		}
	})
	for i, space := range n.spaces {
		for link := range 2 {
			outside := fmt.Sprintf("rc%d%c%d", id, 'a'+i, link)
			devices = append(devices, outside)
			do("link", "add", outside, "type", "veth", "peer", "name", device(link), "netns", space)
			do("addr", "add", n.at(i, link, 1)+"/30", "dev", outside)
			do("link", "set", outside, "up")
			do("-n", space, "addr", "add", n.at(i, link, 2)+"/30", "dev", device(link))
			do("-n", space, "link", "set", device(link), "up")
		}
	}
	do("-n", n.spaces[0], "link", "add", "mesh", "type", "veth", "peer", "name", "mesh", "netns", n.spaces[1])
	for i, space := range n.spaces {
		do("-n", space, "addr", "add", n.at(i, 2, i+1)+"/30", "dev", "mesh")
		do("-n", space, "link", "set", "mesh", "up")
	}
	if err != nil {
		testkit.LeaveOut(t, "this needs network namespaces, and so root; TestNoUserIsTwice cuts connections and needs none: %v", err)
	}
	server := startServer(t, "--bind", "0.0.0.0", "--protected-mode", "no")
	_, port, _ := net.SplitHostPort(server.addr)
	start := func(i int, name string) *process {
		return startProcess(t, job{Name: name, Space: n.spaces[i], Redis: []string{n.at(i, 0, 1) + ":" + port}, Lease: processLease,
			Listen: n.at(i, 1, 2) + ":9000", Mesh: n.at(i, 2, i+1) + ":9100"})
	}
	n.a, n.b = start(0, "a"), start(1, "b")
	return n
}

// must runs a command that must succeed.
func (n *network) must(args ...string) {
	n.t.Helper()
	if err := testkit.IP(args...); err != nil {
		n.t.Fatal(err)
	}
}

// Rules 19 to 21 with real links: users of a node whose link to the server is cut, both ways or one way only, move to the other node,
// which reaches the node directly. Those who stay end with NodeLost. The node handles nothing of users who are at the other node, and nothing
// after its lease, and comes back when the link does.
func TestANodeWhoseLinkToTheServerIsCut(t *testing.T) {
	n := newNetwork(t)
	a := n.spaces[0]
	for what, link := range map[string]struct{ cut, heal []string }{
		"both ways": {
			[]string{"-n", a, "link", "set", "store", "down"},
			[]string{"-n", a, "link", "set", "store", "up"},
		},
		"what the node sends is lost": {
			[]string{"-n", a, "route", "add", "blackhole", n.at(0, 0, 1) + "/32"},
			[]string{"-n", a, "route", "del", "blackhole", n.at(0, 0, 1) + "/32"},
		},
		"what the server answers is lost": {
			[]string{"route", "add", "blackhole", n.at(0, 0, 2) + "/32"},
			[]string{"route", "del", "blackhole", n.at(0, 0, 2) + "/32"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			var users []string
			var clients []*client.Client
			for i := range 10 {
				user := fmt.Sprint(what, i)
				users = append(users, user)
				clients = append(clients, testkit.Must(n.a.dial(t, user)))
			}
			chatter(t, clients)
			testkit.Eventually(t, "the users talk", func() bool { return len(n.a.find("handled", users[9])) > 0 })
			t.Cleanup(func() { _ = testkit.IP(link.heal...) })
			n.must(link.cut...)
			cut := time.Now()
			for i, user := range users {
				if i == len(users)/2 { // until here the other node has reached this one directly
					testkit.EventuallyIn(t, time.Minute, "the node is fenced", func() bool { return len(n.a.find("disconnected", user)) > 0 })
					if why := n.a.find("disconnected", user)[0].Why; why != fmt.Sprint(protocol.NodeLost) {
						t.Errorf("%s's session ended with %s", user, why)
					}
					t.Logf("the node was fenced %v after the cut, with a lease of %v", time.Since(cut).Round(time.Millisecond), processLease)
				}
				n.b.letIn(t, user)
			}
			if late := handledLate(users, n.a, n.b); len(late) > 0 {
				t.Errorf("the node handled messages of users who were at another node: %v", late)
			}
			if late := n.a.handledAfterLease(); len(late) > 1 { // a read that was under way may be finished
				t.Errorf("the node handled messages after its lease: %v", late)
			}
			n.must(link.heal...)
			testkit.EventuallyIn(t, time.Minute, "the node is back", func() bool {
				_, err := n.a.dial(t, what+" back")
				return err == nil
			})
		})
	}
}

// Rule 20 with real links: users move between two nodes that are cut off from each other, one way or both ways, because what logons wait for goes around
// over the server. No session is lost.
func TestUsersMoveBetweenNodesWhoseLinkIsCut(t *testing.T) {
	n := newNetwork(t)
	for _, link := range []struct {
		what      string
		cut, heal []string
	}{
		{"what the old node sends is lost", n.lose(0, "add"), n.lose(0, "del")},
		{"what the new node sends is lost", n.lose(1, "add"), n.lose(1, "del")},
		{"both ways", []string{"-n", n.spaces[0], "link", "set", "mesh", "down"}, nil},
	} {
		var users []string
		for i := range 5 {
			users = append(users, fmt.Sprint(link.what, i))
			testkit.Must(n.a.dial(t, users[i]))
		}
		n.must(link.cut...)
		for _, user := range users {
			n.b.letIn(t, user)
			testkit.Eventually(t, user+" has left", func() bool { return len(n.a.find("disconnected", user)) == 1 })
			if left, came := n.a.find("disconnected", user)[0], n.b.find("connected", user)[0]; left.Why != "PushedOut" || left.At > came.At {
				t.Errorf("%s left with %s, %v before the new session", user, left.Why, came.At-left.At)
			}
		}
		if link.heal != nil {
			n.must(link.heal...)
		}
	}
}

// lose has what a node sends to the other one be lost, with "add", or no more, with "del".
func (n *network) lose(node int, how string) []string {
	return []string{"-n", n.spaces[node], "route", how, "blackhole", n.at(0, 2, 2-node) + "/32"}
}
