package doccheck

import (
	"go/ast"
	"strings"
	"testing"
)

// surface has the packages that a server or a client is made of. Their exported names, and the exported methods of their exported types
// but interfaces, are few enough to be learnt: a new one takes the place of another, or the limit is raised with a reason.
var surface = []string{front, "engine", "usermgr", "bridge", "protocol", "heartbeat", "push", "client", "rollcalltest", "metrics"}

const (
	// 205, engine.WebSocket, protocol.NodeLost, the close code of package cluster, bridge.Elsewhere, and usermgr.Carry and CarryPart, which move with a user, client.SendOptions; and
	// the 15 of protocol/presence.go, and 69 of protocol's contacts.go, groups.go, chat.go and chatcodes.go, which only users of packages presence
	// and chat meet.
	mostNames   = 211 + 15 + 69
	mostMethods = 126 // 115, engine.Conn.HTTPRequest and Transport, engine.Engine.WebSocketHandler, client.Client.SendMessage, Datagrams and Format, usermgr.Manager.AddCarryPart and BannedUntil, which the page of live users shows, and String of PresenceState, ContactState and GroupRole
)

func TestThePublicSurfaceIsSmall(t *testing.T) {
	names, methods := 0, 0
	for _, pkg := range surface {
		code, _ := parse(t, pkg)
		seen := map[string]bool{} // a file for each system may declare the same
		var n, m int
		for _, f := range code {
			for _, d := range f.Decls {
				for _, name := range exported(d) {
					seen[name] = true
				}
			}
		}
		for name := range seen {
			if strings.Contains(name, ".") {
				m++
			} else {
				n++
			}
		}
		t.Logf("%s: %d names, %d methods", pkg, n, m)
		names, methods = names+n, methods+m
	}
	if names > mostNames || methods > mostMethods {
		t.Errorf("%d names and %d methods are exported, %d and %d are the most", names, methods, mostNames, mostMethods)
	}
}

// exported returns the exported names that d declares; a method's has its type before it.
func exported(d ast.Decl) (names []string) {
	add := func(n *ast.Ident) {
		if n.IsExported() {
			names = append(names, n.Name)
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
		} else if recv := receiver(d.Recv.List[0].Type); ast.IsExported(recv) && d.Name.IsExported() {
			names = append(names, recv+"."+d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				add(s.Name)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					add(n)
				}
			}
		}
	}
	return names
}
