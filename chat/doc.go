// Package chat adds users' settings, contacts, groups, and messages that are stored before they are delivered to a server of Rollcall. A program
// that does not import it pays nothing for it.
package chat
