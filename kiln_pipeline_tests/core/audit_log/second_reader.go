// Reads a log that kiln wrote with Go's own transparency log packages, and prints the proofs that they give.
//
// Usage: second_reader FOLDER VKEY; FOLDER is the site's root. Fails unless the signed note verifies, every tile is
// consistent with it, every entry is included and every smaller tree is a beginning of this one.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type folder string

func (f folder) read(path string) []byte {
	data, err := os.ReadFile(filepath.Join(string(f), path))
	check(err)
	return data
}

func (f folder) Height() int { return 8 }

// tlog-tiles is Go's own path with "tile/8/" written as "audit/tile/".
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		data = append(data, f.read("audit/tile/"+strings.TrimPrefix(tile.Path(), "tile/8/")))
	}
	return data, nil
}

func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func (f folder) entries(size int64) [][]byte {
	var entries [][]byte
	for start := int64(0); start < size; start += 256 {
		width := 256
		if size-start < 256 {
			width = int(size - start)
		}
		tile := tlog.Tile{H: 8, L: -1, N: start / 256, W: width}
		bundle := f.read("audit/tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/data/"))
		for len(bundle) > 0 {
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:length])
			bundle = bundle[length:]
		}
	}
	return entries
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	site := folder(os.Args[1])
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	signed, err := note.Open(site.read("audit/checkpoint"), note.VerifierList(verifier))
	check(err)
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("not a checkpoint: %q", signed.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	reader := tlog.TileHashReader(tree, site)

	inclusion, consistency := []tlog.RecordProof{}, []tlog.TreeProof{}
	entries := site.entries(size)
	if int64(len(entries)) != size {
		log.Fatalf("%d entries, not %d", len(entries), size)
	}
	for i, entry := range entries {
		proof, err := tlog.ProveRecord(size, int64(i), reader)
		check(err)
		check(tlog.CheckRecord(proof, size, tree.Hash, int64(i), tlog.RecordHash(entry)))
		inclusion = append(inclusion, proof)
	}
	for old := int64(1); old <= size; old++ {
		hash, err := tlog.TreeHash(old, reader)
		check(err)
		proof, err := tlog.ProveTree(size, old, reader)
		check(err)
		check(tlog.CheckTree(proof, size, tree.Hash, old, hash))
		consistency = append(consistency, proof)
	}
	answer, err := json.Marshal(map[string]interface{}{"size": size, "inclusion": inclusion, "consistency": consistency})
	check(err)
	fmt.Println(string(answer))
}
