//go:build !amd64

package wsframe

import "encoding/binary"

// unmaskBlocks writes src, every eight bytes changed by word, to dst, which may overlap src where it begins no later. Both have the same
// length: 64 bytes, or a multiple of that.
func unmaskBlocks(dst, src []byte, word uint64) {
	for len(src) >= 64 && len(dst) >= 64 { // all is read before any is written
		a, b := binary.LittleEndian.Uint64(src), binary.LittleEndian.Uint64(src[8:])
		c, d := binary.LittleEndian.Uint64(src[16:]), binary.LittleEndian.Uint64(src[24:])
		e, f := binary.LittleEndian.Uint64(src[32:]), binary.LittleEndian.Uint64(src[40:])
		g, h := binary.LittleEndian.Uint64(src[48:]), binary.LittleEndian.Uint64(src[56:])
		binary.LittleEndian.PutUint64(dst, a^word)
		binary.LittleEndian.PutUint64(dst[8:], b^word)
		binary.LittleEndian.PutUint64(dst[16:], c^word)
		binary.LittleEndian.PutUint64(dst[24:], d^word)
		binary.LittleEndian.PutUint64(dst[32:], e^word)
		binary.LittleEndian.PutUint64(dst[40:], f^word)
		binary.LittleEndian.PutUint64(dst[48:], g^word)
		binary.LittleEndian.PutUint64(dst[56:], h^word)
		dst, src = dst[64:], src[64:]
	}
}
