/**
 * Layers with every kind of entry that an image may hold and few do. GNU tar packs them from real files, so that the
 * bytes are those of a tool in wide use; the order of the entries is chosen by file lists.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { runScript } from './command.ts'

/** Common to all: whole metadata, no access times. `pack FORMAT TAR` packs `.`; `list -c|-r TAR` packs the paths on stdin, in order. */
const shellTools = `
  TZ=UTC; export TZ; umask 022
  pack() { tar --format="$1" $pax --numeric-owner --sort=name $xattrs -cf "$2" $3 .; }
  list() { tar --format=posix $pax --numeric-owner --no-recursion $xattrs -P $1 -f "$2" -T - $3; }
  pax=--pax-option=delete=atime,delete=ctime
  xattrs="--xattrs --xattrs-include=*"`

/** Kinds of entries: bits, owners, devices, links, times, names, attributes, contents. PAX format, nanoseconds everywhere. */
const kinds = `
  mkdir bits names links dev times text deep
  for mode in 4755 2755 6711 1777 0000 0444 7777; do echo $mode >bits/$mode; chmod $mode bits/$mode; done
  mkdir -m 1777 bits/sticky; mkdir -m 2750 bits/setgid; mkdir -m 0 bits/closed; mkdir -m 0555 bits/readonly
  echo in >bits/readonly/in; echo in >bits/closed/in
  echo big >bits/owner; chown 3000000:4000000 bits/owner; mkdir bits/owned; chown 4294967294:2097152 bits/owned
  mknod dev/char c 5 1; mknod -m 640 dev/block b 8 17; mknod dev/wide c 259 70000; mkfifo -m 622 dev/fifo
  echo one >links/a; ln links/a links/b; ln links/a deep/c; ln -s a links/relative; ln -s /etc/passwd links/absolute
  ln -s ../../../../../../outside links/escape; ln -s nowhere links/dangling; ln -s . links/self
  ln -s "$(printf 'x%.0s' $(seq 300))/y" links/long; chown -h 77:2100000 links/dangling
  echo cap >bits/cap; setcap cap_net_raw+ep bits/cap
  setfattr -n user.text -v hello bits/owner; setfattr -n user.bytes -v 0x00ff0a3d80 bits/owner
  setfattr -n user.on.directory -v yes bits/owned
  setfattr -n trusted.own -v kept bits/owned
  : >names/empty; echo s >'names/with space'; echo n >"$(printf 'names/new\\nline')"; echo b >'names/back\\slash'
  echo l >"$(printf 'names/latin\\351')"; echo i >"$(printf 'names/\\377\\376\\200')"; echo u >names/ünïcode; echo d >names/-dash
  ln -s "$(printf 'latin\\351')" "$(printf 'names/link\\351')"; echo w >names/.wh; echo q >'names/"quoted"'; echo . >names/...
  echo 255 >names/$(printf 'n%.0s' $(seq 255))
  p=deep; for i in $(seq 12); do p=$p/$(printf "$((i % 10))%.0s" $(seq 60)); mkdir $p; done; echo bottom >$p/file; ln $p/file $p/hard
  printf 'no newline' >text/small; seq 200000 >text/numbers; head -c 9000000 /dev/zero >text/zeros
  { seq 5000; head -c 3000000 /dev/zero; seq 5000; } >text/middle; head -c 65536 /dev/zero >text/zeros64k; head -c 512 /dev/zero >text/zeros512
  echo t >times/past; touch -d @-1000000000.5 times/past; echo t >times/nano; touch -d @1234567890.123456789 times/nano
  echo t >times/future; touch -d @5000000000.000000001 times/future; echo t >times/zero; touch -d @0 times/zero
  ln -s nano times/link; touch -h -d @1111111111.111111111 times/link
  for d in bits bits/closed bits/readonly bits/sticky names links dev text deep times .; do touch -d @1500000000.987654321 $d; done`

/** What the second layer changes; the first tar's tree, for whiteouts to have something to hide. GNU format: L, K, base-256, whole seconds. */
const changes = `
  mkdir -p names bits links deep times gnu dev/fifo text
  : >names/.wh.empty; : >'names/.wh.with space'; : >"$(printf 'names/.wh.latin\\351')"; : >bits/.wh.sticky; : >names/.wh.never-there
  : >times/.wh..wh..opq; echo fresh >times/fresh; : >deep/.wh..wh..opq
  echo 'a file now' >bits/readonly; rm -f links/relative; mkdir links/relative; echo in >links/relative/in
  echo 'a directory before' >links/self; ln -s ../text links/a; mkdir links/dangling; echo in >dev/fifo/in
  chmod 0700 text; chown 12:34 text; echo changed >bits/4755
  long=gnu/$(printf 'long%.0s' $(seq 40)); echo l >$long; ln $long gnu/hard; ln -s "$(printf 'target%.0s' $(seq 40))" gnu/symlink
  chown 3000001:3000002 gnu/hard; touch -d @-86400 gnu/symlink -h; chmod 4711 gnu/hard
  for d in . names bits links links/relative deep times dev dev/fifo text gnu; do touch -d @1600000000 $d; done`

/** The order of entries: parents after their children, parents that never come, absolute names and link targets. */
const orders = `
  mkdir -p late/sub never/was/listed
  echo f >late/sub/file; echo f >never/was/listed/file; ln never/was/listed/file never/was/hard
  chmod 0711 late late/sub; touch -d @1400000000.111 late/sub late
  printf '%s\\n' late/sub/file late/sub late never/was/listed/file never/was/hard | list -c "$1/orders.tar"
  mkdir rooted; echo a >rooted/a; ln rooted/a rooted/b; ln rooted/a rooted/c; touch -d @1400000000.222 rooted
  printf '%s\\n' rooted rooted/a rooted/b | list -r "$1/orders.tar" --transform=s,^rooted,/rooted,
  echo d >rooted/d; ln rooted/d rooted/e
  printf '%s\\n' rooted/d rooted/e | list -r "$1/orders.tar" --transform=s,^rooted,./rooted,`

/** One layer that says names twice: the last one counts, whatever type the others had. docker refuses it. */
const repeats = `
  mkdir replaced twice; echo first >twice/file; echo 'a file first' >replaced/x; mkdir replaced/y; echo in >replaced/y/in
  ln -s nowhere replaced/z; echo h >replaced/h; ln replaced/h replaced/i
  list -c "$1/repeats.tar" <<END
./twice
./twice/file
replaced
replaced/x
replaced/y
replaced/y/in
replaced/z
replaced/h
replaced/i
END
  rm -r replaced/[xyz] replaced/h; mkdir replaced/x; echo in >replaced/x/in; echo 'a file now' >replaced/y; mkdir replaced/z
  echo in >replaced/z/in; echo second >twice/file; chmod 600 twice/file; echo new >replaced/h
  touch -d @1300000000.5 replaced/z replaced/x
  list -r "$1/repeats.tar" <<END
twice/file
replaced/x
replaced/x/in
replaced/y
replaced/z
replaced/z/in
replaced/h
END`

/** Sparse files as GNU tar writes them: type S of the old format, and the three PAX forms. */
const sparse = `
  { echo start; } >a; truncate -s 20M a; echo middle >>a; truncate -s 30M a
  truncate -s 5M hole; echo x >dense; { head -c 4096 /dev/zero; seq 3000; } >lead; truncate -s 80M lead
  i=0; while [ $i -lt 60 ]; do printf x | dd of=many bs=1 seek=$((i * 65536)) conv=notrunc status=none; i=$((i + 1)); done
  ln a hard; chmod 640 a; touch -d @1200000000 a hole dense lead many
  for f in old:gnu 0.0:posix 0.1:posix 1.0:posix; do
    mkdir ../${'$'}{f%:*}.d; cp -a --sparse=always . ../${'$'}{f%:*}.d/${'$'}{f%:*}
    [ ${'$'}{f%:*} = old ] && version= || version=--sparse-version=${'$'}{f%:*}
    (cd ../${'$'}{f%:*}.d; touch -d @1200000001 ${'$'}{f%:*} .; pack ${'$'}{f#*:} "$1/sparse-${'$'}{f%:*}.tar" "-S $version")
  done`

export interface OddTars {
  /** Every engine takes these, lowest first. */
  readonly odd: readonly string[]
  /** docker takes each name of a layer once only. */
  readonly repeats: readonly string[]
  /** docker and containerd refuse the first of these (type S). */
  readonly sparse: readonly string[]
}

/** Makes the layer tars in `directory`. Needs root, and a filesystem with extended attributes. */
export async function buildOddTars(directory: string): Promise<OddTars> {
  const make = async (name: string, script: string) => {
    await mkdir(join(directory, `${name}.d/tree`), { recursive: true })
    await runScript(`${shellTools}\n${script}`, [directory], { cwd: join(directory, `${name}.d/tree`) })
  }
  await make('kinds', `${kinds}\npack posix "$1/kinds.tar"`)
  await make('changes', `${changes}\npax= xattrs=; pack gnu "$1/changes.tar"`)
  await make('orders', orders)
  await make('repeats', repeats)
  await make('sparse', sparse)
  await runScript('rm -rf "$1"/*.d', [directory])
  return {
    repeats: [join(directory, 'repeats.tar')],
    odd: ['kinds', 'changes', 'orders'].map(name => join(directory, `${name}.tar`)),
    sparse: ['old', '0.0', '0.1', '1.0'].map(name => join(directory, `sparse-${name}.tar`)),
  }
}
