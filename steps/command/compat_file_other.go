//go:build !linux

package command

import (
	"io/fs"
	"time"
)

func ownerOf(fs.FileInfo) (uid string, known bool) { return "", false }

func readTime(fs.FileInfo) (at time.Time, known bool) { return time.Time{}, false }
