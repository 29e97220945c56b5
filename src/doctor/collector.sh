#!/bin/sh
# What `windlass doctor --from FILE` reads: the facts of this host about its container engines and their pulls, on stdout.
#   sh collector.sh >facts.txt         # best as root: others see only their own processes
#   sh collector.sh PID >facts.txt     # of the engine with this process alone
# POSIX sh with grep, sed, ls, cat, tr, sleep and uname; stat, curl, perl, dmesg, dpkg, rpm and ldd are used where they are. It reads only: nothing is changed, stopped or traced.
# Of an engine's environment only the settings that matter for pulls are told, and no credentials.

LC_ALL=C
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
unset QUOTING_STYLE TIME_STYLE GREP_OPTIONS
newline='
'
tab=$(printf '\t')

# Names are anybody's, and none may become a line of its own. GNU's ls writes what is not printable as C does, with a \ before a blank; others, and that of busybox by itself,
# put a question mark there. The shell's echo is not used for them: it may take a \n in a name for an end of the line.
for how in -lnb -lnq -ln; do ls $how /proc/self/ns >/dev/null 2>&1 && break; done
show() { ls $how "$@"; }

# The path of a name that show has told, in $path. None of what has control characters in it, or was told with question marks.
plain() {
  path=$1
  case $how$1 in
    -lnb*\\*) ;;
    -lnb*) return 0 ;;
    *\?*) return 1 ;;
    *) return 0 ;;
  esac
  path=$(printf '%s\n' "$1" | sed -e 's/\\ / /g' -e 's/%/%%/g')
  case $(printf '%s\n' "$path" | sed 's/\\[23][0-7][0-7]//g') in *\\*) return 1 ;; esac
  path=$(printf "$path")
}

# Each line begins with a letter that says what it is: src/sys/recorded-host.ts reads them. What was read has the name of its file before it on each of its lines, or a b.
texts() { grep '' "$@" /dev/null 2>/dev/null | sed 's/^/t/'; }
links() { show "$@" 2>/dev/null | sed 's/^/l/'; }
indent() { sed 's/^/b/'; }
has() { command -v "$1" >/dev/null 2>&1; }

# A file whose name may hold a colon.
file() {
  [ -r "$1" ] || return 0
  printf 'x%s\n' "$1"
  cat "$1" 2>/dev/null | indent
}

#: redact and redact_words: see secrets.ts

tick=0.1
quick=8
sleep 0.01 2>/dev/null || {
  tick=1
  quick=0
}

# within TICKS COMMAND...: what hangs on a dead disk or in an agent is left behind.
within() {
  limit=$1
  shift
  "$@" &
  child=$!
  ticks=0
  moments=$quick
  while kill -0 $child 2>/dev/null; do
    # Most have ended at once.
    if [ "$moments" -gt 0 ]; then
      sleep 0.01
      moments=$((moments - 1))
      continue
    fi
    if [ $ticks -ge "$limit" ]; then
      kill -9 $child 2>/dev/null
      echo
      return 1
    fi
    sleep $tick
    ticks=$((ticks + 1))
  done
}

# within_told TICKS COMMAND...: what it says within that time, for a pipe or $(...): who hangs holds the end of a pipe, and nobody may wait for that.
within_told() {
  {
    within "$@" || echo "$late"
    echo "$last_line"
  } | sed -e "/$last_line\$/{s/$last_line\$//;/^\$/!p;q" -e '}' -n -e p
}
# With a tab in them: no name that show tells has one, and none of the words that split gives.
late=windlass${tab}late-$$
last_line=windlass${tab}end-$$

# The words of a command line or an environment, one a line. The kernel locks the memory of the process for them, and may wait there.
split() { tr '\001-\037' ' ' <"$1" | tr '\0' '\n'; }
words() {
  [ -r "$1" ] || return 0
  within_told 30 split "$1" | redact_words | indent | sed "s#^b$late\$#?$1#"
}

# A process that hangs as it becomes another program may hold up whoever asks the kernel about it, on new kernels for all but its status. Nobody asks about those in $mute,
# and about calls and bytes of those in $silent.
mute=' '
silent=' '
# Of all processes: list_processes FILE
list_processes() {
  [ "$mute" != ' ' ] || {
    listed="/proc/[0-9]*/$1"
    return 0
  }
  listed=
  for path in /proc/[0-9]*; do
    case $mute in *" ${path#/proc/} "*) ;; *) listed="$listed $path/$1" ;; esac
  done
}
read_table() {
  list_processes stat
  grep '' $listed 2>/dev/null
}
list_open() {
  list_processes fd
  show $listed "$@" 2>/dev/null
}

# Asks all at once about one file each, and tells of whom no answer came.
find_mute() {
  asked=
  number=0
  for path in /proc/[0-9]*; do
    pid=${path#/proc/}
    case $mute in *" $pid "*) continue ;; esac
    (read -r line <"$path/stat") >/dev/null &
    asked="$asked $!:$pid"
    number=$((number + 1))
    [ $((number % 100)) -ne 0 ] || sleep $tick
  done
  for _ in 1 2 3 4 5; do sleep $tick; done
  here=$(exec sh -c 'echo $PPID')
  for word in $asked; do
    # Who only has no processor is not held in the kernel; and who is not a child of ours has been given the number of one that has ended.
    read -r _ _ state parent _ <"/proc/${word%:*}/stat" || continue
    [ "$state$parent" = "D$here" ] || continue
    kill -9 "${word%:*}"
    pid=${word#*:}
    mute="$mute$pid "
    for name in stat fd environ io; do printf '?%s\n' "/proc/$pid/$name"; done
    texts "/proc/$pid/status"
  done
}

# Says of whose calls no answer comes.
find_silent() {
  for pid in $family; do
    case $silent in *" $pid "*) continue ;; esac
    within 5 cat "/proc/$pid/io" >/dev/null && continue
    silent="$silent$pid "
    printf '?%s\n' "/proc/$pid/io"
  done
}

# Sets table, and engines, family and workers: process IDs.
look_at_processes() {
  table=$(within_told 20 read_table)
  case $table in *"$late"*)
    find_mute
    table=$(within_told 20 read_table | sed "/^$late\$/d")
    ;;
  esac
  list=$(printf '%s\n' "$table" | sed -n \
    -e 's/^.proc.\([0-9]*\).stat:\1 (.*) Z .*//' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (dockerd) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (dockerd-current) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (containerd) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (podman) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (crio) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (buildkitd) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (buildah) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (skopeo) . \([0-9]*\) .*/e:\1:\2/p;t' \
    -e '/^[^:]*:[0-9]* (containerd-shim/d' -e '/^[^:]*:[0-9]* (runc/d' -e '/^[^:]*:[0-9]* (crun/d' -e '/^[^:]*:[0-9]* (conmon/d' \
    -e '/^[^:]*:[0-9]* (docker-init/d' -e '/^[^:]*:[0-9]* (docker-proxy/d' -e '/^[^:]*:[0-9]* (tini/d' -e '/^[^:]*:[0-9]* (slirp4netns/d' \
    -e '/^[^:]*:[0-9]* (pasta/d' -e '/^[^:]*:[0-9]* (exe:/d' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (.*) . \([0-9]*\) .*/o:\1:\2/p')
  engines=
  for word in $list; do
    case $word in e:*)
      pid=${word#e:}
      pid=${pid%:*}
      [ "${only:-$pid}" = "$pid" ] && engines="$engines $pid"
      ;;
    esac
  done
  family=" $engines "
  workers=
  again=y
  while [ -n "$again" ]; do
    again=
    for word in $list; do
      case $word in o:*) ;; *) continue ;; esac
      pid=${word#o:}
      parent=${pid#*:}
      pid=${pid%:*}
      case $family in *" $pid "*) continue ;; esac
      case $family in *" $parent "*)
        family="$family$pid "
        workers="$workers $pid"
        again=y
        ;;
      esac
    done
  done
}

# Files that are being downloaded to, as the engine has them open: /proc/PID/fd/N, and directories of containerd.
downloads() {
  printf '%s\n' "$fds" | sed -n -e '/^\/proc\/.*:$/{s/:$//;h;}' \
    -e '/ -> .*\/GetImageBlob[0-9]*$/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}' \
    -e '/ -> .*\/container_images_storage.*\/[0-9]*$/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}' \
    -e '/ -> .*\/storage[0-9][0-9]*\/[0-9]*$/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}'
}
ingests() {
  printf '%s\n' "$fds" | sed -n -e 's/^l.* [0-9]* -> \(\/.*\/ingest\/[^/]*\)\/data$/\1/p'
}

pipes() {
  printf '%s\n' "$fds" | sed -n -e '/^\/proc\/.*:$/{s/:$//;h;}' -e '/ -> pipe:/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}'
}

# Asked one by one only where something does not answer, and about that no more.
facts_of_downloads() {
  for one in "$@"; do
    shift
    case $dead in *"$newline$one$newline"*) ;; *) set -- "$@" "$one" ;; esac
  done
  [ $# -gt 0 ] || return 0
  facts=$(within_told 10 facts_of_files "$@")
  case $facts in *"$late"*) ;; *)
    printf '%s\n' "$facts"
    return 0
    ;;
  esac
  hanging=0
  for path in "$@"; do
    facts=$late
    [ $hanging -ge 3 ] || facts=$(within_told 5 facts_of_files "$path")
    case $facts in *"$late"*)
      hanging=$((hanging + 1))
      dead=$dead$path$newline
      printf '?%s\n' "$path"
      ;;
      *) printf '%s\n' "$facts" ;;
    esac
  done
}
dead=$newline

# Nothing of names that would be lines of their own, or an end of what is told.
facts_of_files() {
  for one in "$@"; do
    shift
    case $one in *"$newline"* | *"$tab"*) ;; *) set -- "$@" "$one" ;; esac
  done
  [ $# -eq 0 ] || stat -L -c 's%s %Y %f %Z %n' "$@" 2>/dev/null
}

fills() {
  has perl || return 0
  set --
  # What is no pipe may lie on a dead disk.
  for path in $(pipes); do
    case $path in */0 | */1) set -- "$@" "$path" ;; esac
  done
  [ $# -eq 0 ] || perl -e '
    for my $path (@ARGV) {
      next unless -p $path && sysopen(my $pipe, $path, 2048);
      my $bytes = pack("i", 0);
      my $size = fcntl($pipe, 1032, 0);
      print "p", unpack("i", $bytes), " ", int($size), " $path\n" if ioctl($pipe, 0x541B, $bytes) && $size;
    }' "$@" 2>/dev/null
}

# What the kernel takes a lock of exec for: whoever hangs with it holds up who asks.
look_at_calls() {
  set --
  for pid in $family; do
    case $silent in *" $pid "*) continue ;; esac
    set -- "$@" "/proc/$pid/io" /proc/"$pid"/task/*/syscall /proc/"$pid"/task/*/io
  done
  grep '' "$@" /dev/null 2>/dev/null
}
look_at_stacks() {
  set --
  for pid in $family; do
    case $silent in *" $pid "*) ;; *) set -- "$@" /proc/"$pid"/task/*/stack ;; esac
  done
  texts "$@"
}

look_at_family() {
  look_at_calls
  set --
  for pid in $family; do set -- "$@" /proc/"$pid"/task/*/stat /proc/"$pid"/task/*/wchan; done
  grep '' "$@" /dev/null 2>/dev/null
  set --
  for pid in $family; do set -- "$@" /proc/"$pid"/task/*/status /proc/"$pid"/fdinfo/*; done
  grep -E '^(pos|flags|voluntary_ctxt_switches|nonvoluntary_ctxt_switches):' "$@" /dev/null 2>/dev/null
}

# Anybody may call a program of his like an engine, and have us read whatever he likes: a file that is no link, and of it what such a file has in it.
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
tell_ingest() {
  digest='sha(256|384|512):[0-9a-f]{64,128}$'
  tell_part total '^[0-9]{1,19}$'
  tell_part ref "^[A-Za-z0-9_./-]{0,200}$digest"
  # What is fetched is called by its digest; of all else that it is something else.
  [ -n "$found" ] || ! is_file "$at/ref" || printf 'x%s\nbother\n' "$at/ref"
}
tell_part() {
  found=
  is_file "$at/$1" || return 0
  found=$(grep -E "$2" "$at/$1" | sed 1q)
  [ -z "$found" ] || printf 'x%s\nb%s\n' "$at/$1" "$found"
}

# Sizes are read before positions: who writes stands at the end of his file, or beyond the end that was seen.
look_at_downloads() {
  case $fds in */GetImageBlob* | */container_images_storage* | */storage[0-9]*/[0-9]* | */ingest/*) ;; *) return 0 ;; esac
  files=$(downloads)
  told=$(ingests)
  [ -n "$files$told" ] || return 0
  downloading=y
  tops=
  [ -z "$told" ] || for pid in $engines; do
    find_root
    tops=$tops$newline$pid:$top
  done
  saved=$IFS
  IFS=$newline
  set -f
  set -- $files
  for layer in $told; do
    plain "$layer" || continue
    layer=$path
    set -- "$@" "$layer/data"
    for word in $tops; do set -- "$@" "/proc/${word%%:*}/root${layer#"${word#*:}"}/data"; done
    case $parts in *"$newline$layer$newline"*) continue ;; esac
    parts=$parts$layer$newline
    for word in '' $tops; do
      at=$layer
      [ -z "$word" ] || at=/proc/${word%%:*}/root${layer#"${word#*:}"}
      within_told 10 tell_ingest | sed "/^$late\$/d"
    done
  done
  set +f
  IFS=$saved
  facts_of_downloads "$@"
}
parts=$newline

known=' '
frame() {
  look_at_processes
  fresh=
  for pid in $engines; do
    case $known in *" $pid "*) continue ;; esac
    known="$known$pid "
    fresh=y
    look_at_engine
  done
  [ -z "$fresh" ] || look_at_processes
  read -r uptime _ </proc/uptime
  echo "f$uptime"
  set -- /proc/self/ns
  for pid in $family; do set -- "$@" "/proc/$pid/fd"; done
  fds=$(within_told 20 show "$@" 2>/dev/null | sed "/^$late\$/d")
  downloading=
  look_at_downloads
  tasks=
  [ -z "$engines" ] || tasks=$(within_told 20 look_at_family)
  case $tasks in *"$late"*)
    find_silent
    tasks=$(within_told 20 look_at_family | sed "/^$late\$/d")
    ;;
  esac
  # As few programs as can be: on a busy host each waits for its turn, and what is seen late tells less.
  {
    printf '%s\n' "$table" "$tasks"
    [ -z "$engines" ] || grep '' /proc/locks /proc/diskstats 2>/dev/null
  } | sed -e '/^$/d' -e 's/^/t/'
  [ -n "$engines" ] || return 0
  printf '%s\n' "$fds" | sed -n -e 's/^l/ll/p' -e 's#^/proc/.*:$#l&#p'
  [ -z "$downloading" ] || within_told 20 tell_clients | sed "/^$late\$/d"
  within 20 fills
  for pid in $workers; do
    case $known in *" $pid "*) continue ;; esac
    known="$known$pid "
    tell_command "$pid"
    links "/proc/$pid/root" "/proc/$pid/ns/pid" "/proc/$pid/ns/mnt"
    file "/proc/$pid/cgroup"
    look_at_groups
  done
  busy=$workers$downloading
}

# Clients that download by themselves for a containerd: which sockets are theirs.
tell_clients() {
  # Of one directory alone its name would not be told.
  set -- /proc/self/ns
  for pid in $(printf '%s\n' "$table" | sed -n -e 's/^.proc.\([0-9]*\).stat:\1 (ctr) .*/\1/p' -e 's/^.proc.\([0-9]*\).stat:\1 (nerdctl) .*/\1/p'); do
    set -- "$@" "/proc/$pid/fd"
  done
  [ $# -eq 1 ] || show "$@" | sed -n -e '/ -> socket:/s/^l/ll/p' -e 's#^/proc/.*:$#l&#p'
}

# When something came last on each connection, and was sent, how much that was, and its ports: not with whom it is.
tell_connections() {
  for state in established listening; do
    echo "ass -tneiH state $state"
    ss -tneiH state $state 2>/dev/null | sed -n -e 's/^\([0-9]* *[0-9]* *\)[^ ]*\(:[0-9]*\)  *[^ ]*\(:[0-9*]*\) .*\(ino:[0-9]*\).*/b\1*\2 *\3 \4/p' \
      -e "/^[ $tab]/!d" -e "s/[ $tab]\([a-z_]*:[0-9]*\)/ @\1/g" -e "s/[ $tab][^@ ][^ $tab]*//g" \
      -e 's/@bytes_/bytes_/g' -e 's/@lastsnd/lastsnd/' -e 's/@lastrcv/lastrcv/' -e 's/@backoff/backoff/' -e 's/ *@[^ ]*//g' -e 's/^/b/p'
  done
}

# is_own PATH [-L]: root's or ours, and nobody else may write to it. Of a directory like /tmp nobody takes away what is another's; who may write to a socket may only talk there.
is_own() {
  shown=$(ls -nd ${2:+"$2"} "$1" 2>/dev/null) || return 1
  case $shown in [ls]* | d????????[tT]*) ;; ?????w* | ????????w*) return 1 ;; esac
  shown=$(printf '%s\n' "$shown" | sed -n '1s/^[^ ]* *[0-9]* *\([0-9]*\) .*/\1/p')
  [ -n "$shown" ] && { [ "$shown" = 0 ] || [ "$shown" = "$own" ]; }
}
# own_path PATH: where it leads, if nobody but root and us may have put there what stands there and on the way, or may change it.
own_path() (
  place=$1
  for _ in 1 2 3 4 5 6 7 8 9; do
    folder=$(cd -P "${place%/*}/" && pwd -P) || exit 1
    above=$folder
    while is_own "${above:-/}"; do
      case $above in / | '') break ;; esac
      above=${above%/*}
    done
    case $above in / | '') ;; *) exit 1 ;; esac
    place=${folder%/}/${place##*/}
    is_own "$place" || exit 1
    [ -L "$place" ] || {
      printf '%s\n' "$place"
      exit 0
    }
    target=$(ls -nd "$place")
    target=${target##* -> }
    case $target in /*) place=$target ;; *) place=${folder%/}/$target ;; esac
  done
  exit 1
)

# listens PID SOCKET: whether it is that process which listens there, or what has started it and listened for it, as systemd does. Without perl that is not seen.
listens() {
  has perl || return 0
  case $machine in x86_64 | aarch64 | riscv64 | loongarch64 | s390x) ;; *) return 0 ;; esac
  peer=$(perl -MSocket -e 'alarm 3; socket(my $it, AF_UNIX, SOCK_STREAM, 0) && connect($it, pack_sockaddr_un($ARGV[0])) or exit;
    printf "%d %u", unpack("iI", getsockopt($it, SOL_SOCKET, 17))' "$2")
  # Where too many wait already nobody is told; nor will anybody be answered.
  [ -n "$peer" ] || return 0
  [ "${peer#* }" = 0 ] || [ "${peer#* }" = "$user" ] || return 1
  peer=${peer%% *}
  above=$1
  while [ "${above:-0}" -gt 0 ]; do
    [ "$above" != "$peer" ] || return 0
    above=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$above/status")
  done
  return 1
}

# fetch PID SOCKET PATH: what is told of sockets may be anybody's word, and a link in the place of one may lead to any other; /var/run is one. Who is not asked is told as such.
fetch() {
  user=$(users_of "$1")
  user=${user#* }
  find_place "$2" && { [ -z "$place" ] || listens "$1" "$place"; } || {
    printf '%s\n' "$refused"
    return 0
  }
  [ -z "$place" ] || curl -sf -m 3 --unix-socket "$place" "http://localhost$3"
}
# Where a socket of a process of $user is, in $place: nowhere if it is gone.
find_place() {
  at=$1
  if [ "$user$root" = 0 ]; then
    place=$(own_path "$at") || [ ! -e "$at" ]
    return
  fi
  case $at in /var/run/*) at=/run${at#/var/run} ;; esac
  place=$root$at
  part=$at
  while :; do
    [ -z "$part" ] || [ ! -L "$root$part" ] || return 1
    [ "$user" != 0 ] || is_own "$root${part:-/}" || return 1
    [ -n "$part" ] || break
    part=${part%/*}
  done
  [ "$user" = 0 ] || [ "$user" = "$(ls -nd "$place" | sed 's/^[^ ]* *[0-9]* *\([0-9]*\).*/\1/')" ]
}
refused=windlass${tab}refused-$$

# ask PID SOCKET PATH
ask() {
  body=$(within_told 50 fetch "$@" 2>/dev/null)
  case $body in *"$refused"*)
    body=
    return 0
    ;;
  esac
  case $body in *"$late"*) body= ;; esac
  tell "$root$2 $3" "$body"
}
# Also of whom no answer came: he was asked.
tell() {
  printf 'a%s\n' "$1"
  [ -z "$2" ] || printf '%s\n' "$2" | indent
}

# What the daemon says of itself has labels and more: only how it reaches registries, and its storage driver.
ask_info() {
  body=$(within_told 50 fetch "$@" /info 2>/dev/null | tr '\n' ' ')
  settings=$(printf '%s\n' "$body" | sed -n -E -e 's/.*("RegistryConfig": *[{].*[}]), *"NCPU":.*/\1/p' | redact)
  driver=$(printf '%s\n' "$body" | grep -oE '"Driver": *"[a-z0-9-]*"' | sed 1q)
  [ -z "$driver" ] || tell "$root$2 /info" "{$driver${settings:+,$settings}}"
}

# Of a daemon.json what says how registries are reached; anything else may be a secret.
tell_daemon_file() {
  [ -r "$1" ] || return 0
  found=$(tr '\n' ' ' <"$1" | grep -oE '"(insecure-registries|registry-mirrors)" *: *[[][^]]*[]]|"(http|https|no)-proxy" *: *"[^"]*"|"max-concurrent-downloads" *: *[0-9]+' |
    redact | sed 's/^/,/' | tr -d '\n')
  printf 'x%s\n' "$1"
  printf '%s\n' "{${found#,}}" | indent
}

# What stands where a device would may be an address with a password.
tell_mounts() { file "/proc/$1/mountinfo" | redact; }

# Where names are asked for. What is not of that kind may be a file of root, to which a container has a symlink.
tell_servers() {
  [ -f "$1" ] && [ -r "$1" ] || return 0
  printf 'x%s\n' "$1"
  sed -n -E 's/^[[:space:]]*(nameserver|search|domain|options)([[:space:]]+[A-Za-z0-9_.:%/ -]+).*/\1\2/p' "$1" | sed 50q | indent
}

# Of the engine $pid: where its root is for us, what the kernel puts before the names of its files, and the sockets on which it listens.
find_root() {
  root=/proc/$pid/root
  here=$(show /proc/self/ns/mnt 2>/dev/null)
  there=$(show "/proc/$pid/ns/mnt" 2>/dev/null)
  top=$(show "/proc/$pid/root" 2>/dev/null)
  plain "${top##*-> }" || path=$newline
  top=$path
  [ "${here##*-> }" = "${there##*-> }" ] && [ "$top" = / ] && root=
  [ "$top" != / ] || top=
  [ -n "$there" ] || root=
}
# Whoever binds a socket may have a whole line of this table in its name: of what it says twice, of a socket that listens or not, nothing is taken. $told_sockets: lines that are believed.
find_sockets() {
  sockets=
  told_sockets=
  held=$(show "/proc/$pid/fd" 2>/dev/null)
  inodes=" $(printf '%s\n' "$held" | sed -n 's/^[^>]*> socket:\[\([0-9]*\)\]$/\1/p' | tr '\n' ' ')"
  table_of_sockets=$(cat "/proc/$pid/net/unix" 2>/dev/null)
  numbers=$(printf '%s\n' "$table_of_sockets" | sed -n -e 's/^[^ ]* [^ ]* [^ ]* [^ ]* [^ ]* [^ ]* *\([0-9][0-9]*\)$/:\1:/p' \
    -e 's/^[^ ]* [^ ]* [^ ]* [^ ]* [^ ]* [^ ]* *\([0-9][0-9]*\) .*/:\1:/p')
  for word in $(printf '%s\n' "$table_of_sockets" | sed -n 's/^[^ ]* [^ ]* [^ ]* 00010000 [^ ]* [^ ]* *\([0-9]*\) \(\/[^ ]*\)$/\1:\2/p'); do
    number=${word%%:*}
    # A node has thousands of them, which only for a few of its own is looked through again.
    case $inodes in *" $number "*) ;; *) continue ;; esac
    case $numbers in *":$number:"*":$number:"*) continue ;; esac
    sockets="$sockets ${word#*:}"
    told_sockets="$told_sockets/proc/$pid/net/unix:0: 0 0 00010000 0 0 $number ${word#*:}$newline"
  done
}

tell_closed() {
  true <"/proc/$pid/environ" || printf '!/proc/%s\n' "$pid/fd" "$pid/environ"
}

look_at_engine() {
  find_root
  find_sockets
  links "/proc/$pid/exe" "/proc/$pid/root" "/proc/$pid/ns/mnt" "/proc/$pid/ns/net" "/proc/$pid/ns/pid" "/proc/$pid/ns/user"
  grep '^Uid:' "/proc/$pid/status" /dev/null | sed 's/^/t/'
  # ls /proc/PID/fd may be forbidden even to root: then nobody is to be accused.
  within_told 30 tell_closed | sed "/^$late\$/d"
  printf 'c%s\n' "/proc/$pid/cmdline"
  words "/proc/$pid/cmdline"
  args=$(within_told 30 split "/proc/$pid/cmdline")
  environ=$(within_told 30 split "/proc/$pid/environ")
  case $environ in *"$late"*) printf '?%s\n' "/proc/$pid/environ" ;; ?*)
    printf 'c%s\n' "/proc/$pid/environ"
    printf '%s\n' "$environ" |
      grep -aE '^(PATH|LD_LIBRARY_PATH|LD_PRELOAD|LD_AUDIT|LANG|LC_ALL|TMPDIR|DOCKER_TMPDIR|CONTAINERS_STORAGE_CONF|GODEBUG|GOMAXPROCS|PIGZ|GZIP|MOBY_[A-Z_]*|CONTAINERD_[A-Z_]*|[Hh][Tt][Tt][Pp][Ss]?_[Pp][Rr][Oo][Xx][Yy]|[Nn][Oo]_[Pp][Rr][Oo][Xx][Yy]|[Aa][Ll][Ll]_[Pp][Rr][Oo][Xx][Yy])=' |
      redact_words | indent
    ;;
  esac
  printf '%s' "$told_sockets" | sed 's/^/t/'
  # Connections on which something is sent again and again.
  grep -E '^ +sl |^ *[0-9]+: [^ ]+ [^ ]+ 0[12] [^ ]+ [^ ]+ 0*[1-9A-F]' "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" /dev/null 2>/dev/null | sed 's/^/t/'
  tell_mounts "$pid"
  file "/proc/$pid/cgroup"
  file "/proc/$pid/limits"
  named=$(printf '%s\n' "$args" | sed -n -e 's/^--config-file=//p' -e '/^--config-file$/{n;p;}')
  within 30 tell_daemon_file "$root${named:-/etc/docker/daemon.json}"
  within 30 tell_servers "$root/etc/resolv.conf"
  storage=$(printf '%s\n' "$environ" | sed -n 's/^CONTAINERS_STORAGE_CONF=//p' | sed 1q)
  if [ "$(cat "/proc/$pid/comm")" = crio ]; then kept=$(within_told 60 tell_crio); else kept=; fi
  case $kept in *'
='*) ;; *)
    kept="$kept
$(within_told 30 tell_storage)"
    ;;
  esac
  printf '%s\n' "$kept" | sed -n -e '/^$/d' -e '/^=/!p'
  kept=$(printf '%s\n' "$kept" | sed -n 's/^=//p')
  look_at_groups
  unit=$(sed -n 's#^[0-9]*:\(name=systemd\)\{0,1\}:[^ ]*/\([^/ ]*\.service\)$#\2#p' "/proc/$pid/cgroup" 2>/dev/null | sed 1q)
  case $units in *" ${unit:- } "*) ;; *)
    units="$units$unit "
    within 100 look_at_unit
    ;;
  esac
  look_at_data
  look_at_decompressors
  within 30 tell_version
  for socket in $sockets; do
    has curl || break
    ask "$pid" "$socket" /version
    [ -z "$body" ] || ask_info "$pid" "$socket"
  done
}

# Where a CRI-O keeps images, and layers on their way: what it says itself, or else its files. A line that begins with = says it again.
tell_crio() {
  for socket in $sockets; do
    has curl || break
    places=$(within_told 15 fetch "$pid" "$socket" /config 2>/dev/null | crio_places)
    case $places in *'[crio]'*) ;; *) continue ;; esac
    tell "$root$socket /config" "$places"
    printf '%s\n' "$places" | crio_roots
    return 0
  done
  named=$(printf '%s\n' "$args" | sed -n -e 's/^--config=//p' -e 's/^-c=//p' -e '/^--config$/{n;p;}' -e '/^-c$/{n;p;}')
  folder=$(printf '%s\n' "$args" | sed -n -e 's/^--config-dir=//p' -e 's/^-d=//p' -e '/^--config-dir$/{n;p;}' -e '/^-d$/{n;p;}')
  for path in "$root${named:-/etc/crio/crio.conf}" "$root${folder:-/etc/crio/crio.conf.d}"/*; do
    case $path in *"$newline"*) continue ;; esac
    [ -f "$path" ] && [ -r "$path" ] || continue
    printf 'x%s\n' "$path"
    crio_places <"$path" | indent
    crio_places <"$path" | crio_roots
  done
}
crio_places() { sed -n -E -e 's/^[[:space:]]*(\[crio\])[[:space:]]*$/\1/p' -e '/^[[:space:]]*(root|imagestore|big_files_temporary_dir)[[:space:]]*=/p'; }
crio_roots() { sed -n -E "s/^[[:space:]]*(root|imagestore|big_files_temporary_dir)[[:space:]]*=[[:space:]]*[\"'](\/[^\"']*).*/=\2/p"; }

# Where podman and its kin keep images; a line that begins with = says it again.
tell_storage() {
  for path in ${storage:-/etc/containers/storage.conf /usr/share/containers/storage.conf}; do
    [ -f "$root$path" ] || continue
    printf 'x%s\n' "$root$path"
    grep -E '^[[:space:]]*graphroot[[:space:]]*=' "$root$path" | indent
    sed -n 's/^[[:space:]]*graphroot[[:space:]]*=[[:space:]]*"\([^"]*\)".*/=\1/p' "$root$path" | sed 1q
  done
}

# What systemd was told to start the engine with, in the order in which it reads it: only what matters for pulls.
settings='(MOBY_DISABLE_PIGZ|CONTAINERD_DISABLE_[A-Z_]+|PIGZ|GZIP|DOCKER_TMPDIR|TMPDIR|HTTP_PROXY|HTTPS_PROXY|NO_PROXY)'
look_at_unit() {
  for directory in /etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
    for path in "$directory/$unit" "$directory/$unit.d"/*.conf; do
      [ -f "$path" ] && [ -r "$path" ] || continue
      facts_of_files "$path"
      lines=$(sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' "$path" |
        sed -n -e 's/^[[:space:]]*\(Environment\)[[:space:]]*=[[:space:]]*/\1=/p' -e 's/^[[:space:]]*\(EnvironmentFile\)[[:space:]]*=[[:space:]]*/\1=/p')
      printf 'x%s\n' "$path"
      printf '%s\n' "$lines" | unit_settings | redact_words | indent
      for named in $(printf '%s\n' "$lines" | sed -n 's/^EnvironmentFile=-\{0,1\}//p'); do
        [ -f "$named" ] && [ -r "$named" ] || continue
        printf 'x%s\n' "$named"
        grep -iE "^[[:space:]]*(export[[:space:]]+)?$settings=" "$named" | redact_words | indent
      done
    done
  done
}

units=' '
unit_settings() {
  while read -r line; do
    case $line in
      Environment=?*)
        printf ' %s\n' "${line#Environment=}" |
          grep -oiE "[[:space:]](\"$settings=[^\"]*\"|'$settings=[^']*'|$settings=(\"[^\"]*\"|'[^']*'|[^[:space:]\"']*))" | sed 's/^./Environment=/'
        ;;
      *) printf '%s\n' "$line" ;;
    esac
  done
}

# What root or we have started beside us, out of the same files, may be run with our rights. Anybody may call a program of his like an engine, and so may a container that has
# the processes of the host, and a root without a user namespace.
is_of_host() {
  for space in pid mnt user; do
    here=$(show "/proc/self/ns/$space")
    there=$(show "/proc/$pid/ns/$space")
    [ -n "$there" ] && [ "${here##*-> }" = "${there##*-> }" ] || return 1
  done
  there=$(show "/proc/$pid/root")
  [ "${there##*-> }" = / ] && [ "/proc/$pid/root" -ef / ] || return 1
  users=$(users_of "$pid")
  [ -n "$users" ] || return 1
  for uid in $users; do
    [ "$uid" = 0 ] || [ "$uid" = "$own" ] || return 1
  done
}
# Whose a process is, and whose it is as it acts.
users_of() { sed -n 's/^Uid:[[:space:]]*\([0-9]*\)[[:space:]]*\([0-9]*\).*/\1 \2/p' "/proc/$1/status"; }
own=$(users_of self 2>/dev/null)
own=${own#* }
machine=$(uname -m)

# A file of the host may be run, by its own name, whoever has started it, in whatever root and namespaces, if nobody but root can put another one in its place.
is_host_file() {
  read -r kind <"/proc/$pid/comm"
  at=$(show "/proc/$pid/exe")
  plain "${at##*-> }" || return 1
  at=$path
  runnable=$path
  [ "${at##*/}" = "$kind" ] && [ "/proc/$pid/exe" -ef "$at" ] || return 1
  [ "$(own_path "$at")" = "$at" ]
}

tell_version() {
  runnable=/proc/$pid/exe
  { is_of_host && is_own "$runnable" -L; } || is_host_file || return 0
  said=$("$runnable" --version 2>/dev/null) || return 0
  printf 'r%s\n' "/proc/$pid/exe --version"
  printf '%s\n' "$said" | indent
}

look_at_groups() {
  while IFS=: read -r number names path; do
    case "$number:,$names," in
      0:,,) at=/sys/fs/cgroup$path ;;
      *,memory,*) at=/sys/fs/cgroup/memory$path ;;
      *,cpu,*) at=/sys/fs/cgroup/cpu$path ;;
      *,freezer,*) at=/sys/fs/cgroup/freezer$path ;;
      *,pids,*) at=/sys/fs/cgroup/pids$path ;;
      *) continue ;;
    esac
    at=${at%/}
    # A limit of any group above holds, too.
    while :; do
      case $grouped in *" $at "*) break ;; esac
      grouped="$grouped$at "
      look_at_group
      case $at in /sys/fs/cgroup | /sys/fs/cgroup/*/*) at=${at%/*} ;; *) break ;; esac
    done
  done <"/proc/$pid/cgroup"
}

grouped=' '
look_at_group() {
  # It is there, whatever files it has.
  [ ! -d "$at" ] || printf 'x%s\n' "$at/cgroup.procs"
  for name in memory.max memory.high memory.current memory.stat memory.events memory.limit_in_bytes memory.usage_in_bytes memory.oom_control \
    memory.failcnt cpu.max cpu.stat cpu.cfs_quota_us cpu.cfs_period_us cgroup.freeze cgroup.events freezer.state pids.max pids.current \
    pids.events; do
    file "$at/$name"
  done
}

look_at_data() {
  roots=$(printf '%s\n' "$held" | sed -n -e 's/.* -> \(\/.*\)\/volumes\/metadata\.db$/\1/p' -e 's/.* -> \(\/.*\)\/buildkit\/cache\.db$/\1/p' \
    -e 's/.* -> \(\/.*\)\/io\.containerd\.metadata\.v1\.bolt\/meta\.db$/\1/p' -e 's/.* -> \(\/.*\)\/cache\.db$/\1/p' \
    -e 's/.* -> \(\/.*\)\/history\.db$/\1/p')
  named=$(printf '%s\n' "$args" | sed -n -e 's/^--data-root=//p' -e 's/^--root=//p' -e 's/^--graph=//p' \
    -e '/^--data-root$/{n;p;}' -e '/^--root$/{n;p;}' -e '/^--graph$/{n;p;}' -e '/^-g$/{n;p;}')
  saved=$IFS
  IFS=$newline
  set -f
  set --
  for data in $roots; do plain "$data" && set -- "$@" "$path"; done
  set -- "$@" $named $kept /var/lib/docker /var/lib/containerd /var/lib/containers/storage /var/lib/buildkit /var/tmp
  set +f
  IFS=$saved
  told=$newline
  for data in "$@"; do
    for at in "$data" "/proc/$pid/root${data#"$top"}"; do
      case $told in *"$newline$at$newline"*) continue ;; esac
      told=$told$at$newline
      within 50 stat -f -c 'd%S %b %a %c %d %t %n' "$at" 2>/dev/null || {
        printf '?%s\n' "$at"
        continue
      }
      [ ! -d "$at" ] || within 20 look_at_directory
    done
  done
}

# Whether its entries tell their types, which nothing but getdents64(2) says; and parts of layers on which nobody works.
look_at_directory() {
  has perl && perl -e '
    use Config;
    my %numbers = (x86_64 => 217, aarch64 => 61, riscv64 => 61, loongarch64 => 61, s390x => 220);
    my ($name) = $Config{archname} =~ /^(\w+?)-linux/;
    my $number = $numbers{$name // ""};
    exit unless $number && $Config{ptrsize} == 8;
    sysopen(my $directory, $ARGV[0], 2048) or exit;
    my $entries = "\0" x 32768;
    my $used = syscall($number, fileno($directory), $entries, 32768);
    for (my $at = 0; $at < $used;) {
      my ($length, $type) = unpack("x16 S C", substr($entries, $at));
      my $entry = unpack("Z*", substr($entries, $at + 19));
      if ($entry ne "." && $entry ne "..") { print "y", $type ? 1 : 0, " $ARGV[0]\n"; exit; }
      last unless $length;
      $at += $length;
    }' "$at" 2>/dev/null
  set --
  for path in "$at"/tmp/GetImageBlob* "$at"/io.containerd.content.v1.content/ingest/*/data; do
    case $held in *" -> ${path#"/proc/$pid/root"}"*) continue ;; esac
    [ $# -ge 200 ] || [ ! -f "$path" ] || set -- "$@" "$path"
  done
  [ $# -eq 0 ] || facts_of_files "$@"
}

list_decompressors() {
  IFS=:
  for directory in $(printf '%s\n' "$environ" | sed -n 's/^PATH=//p'); do
    for name in unpigz pigz igzip zstd; do
      [ ! -f "$root$directory/$name" ] || printf '%s\n' "$root$directory/$name"
    done
  done
}

look_at_decompressors() {
  set --
  saved=$IFS
  IFS=:
  for path in $(within_told 50 list_decompressors | tr '\n' :); do set -- "$@" "$path" "${path%/*}"; done
  IFS=$saved
  [ $# -eq 0 ] || within 10 facts_of_files "$@"
  # What lives in a root of its own has a package manager of its own.
  [ -z "$root" ] || return 0
  read -r kind <"/proc/$pid/comm"
  case $kind in
    dockerd) used='unpigz' ;;
    containerd | buildkitd) used='igzip unpigz' ;;
    *) used='pigz' ;;
  esac
  for name in $used; do
    for path in "$@"; do
      [ "${path##*/}" = "$name" ] && [ -f "$path" ] && [ -x "$path" ] || continue
      look_at_package "$path"
      break
    done
  done
}

# said COMMAND...: what a program says, whatever its status. $text is that, too.
said() { said_as "$*" "$@"; }
# said_as NAME COMMAND...
said_as() {
  as=$1
  shift
  text=$(within_told 30 "$@" 2>&1)
  case $text in *"$late"*) return 1 ;; esac
  printf 'r%s\n' "$as"
  printf '%s\n' "$text" | indent
}

packages=' '
look_at_package() {
  case $packages in *" $1 "*) return 0 ;; esac
  packages="$packages$1 "
  other=/usr$1
  case $1 in /usr/*) other=${1#/usr} ;; esac
  whole=
  if has dpkg && said dpkg -S "$1" "$other"; then
    owner=$(printf '%s\n' "$text" | sed -n 's/^\([a-z0-9][a-z0-9+.:-]*\): \/.*/\1/p' | sed 1q)
    [ -z "$owner" ] || said dpkg-query -W '-f=${Version}' "$owner"
    [ -z "$owner" ] || { said dpkg -V "$owner" && is_whole && whole=y; }
  fi
  if has rpm && said rpm -qf "$1" "$other"; then
    owner=$(printf '%s\n' "$text" | sed -n '/^[A-Za-z0-9_.+~^-][A-Za-z0-9_.+~^-]*$/p' | sed 1q)
    [ -z "$owner" ] || { said rpm -V "$owner" && is_whole && whole=y; }
  fi
  # It is run, to tell its version, only where its package vouches for it and nobody else could replace it.
  [ -n "$whole" ] || return 0
  real=$(within_told 20 own_path "$1")
  case $real in '' | *"$late"*) ;; *) tell_libraries "$1" ;; esac
}

is_whole() {
  ! printf '%s\n' "$text" | grep -E '^([.?A-Za-z0-9_]{8,9} +/|missing)' | grep -qvE '^[^ ]+ +[cdg] |/(doc|man|locale)/'
}

# As the loader puts them together for a child of the engine.
tell_libraries() {
  program=$1
  set --
  for name in LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT; do
    value=$(printf '%s\n' "$environ" | sed -n "s/^$name=//p" | sed 1q)
    [ -z "$value" ] || ! is_of_host || set -- "$@" "$name=$value"
  done
  said_as "env${*:+ $*} ldd $program" env "$@" ldd "$real"
  case $program in *pigz) said_as "env${*:+ $*} $program -vV" env "$@" "$real" -vV ;; esac
}

# Of what an engine has started the words of decompressors and untars alone: all else is what a build runs, or a stranger, and its words are nobody's business. Of a program that is
# called as engines call a decompressor, how it is called.
decompressors='(unpigz|pigz|igzip|gzip|gunzip|zstd|unzstd|xz|unxz|bzip2|bunzip2)'
untars='(docker-untar|docker-applyLayer|storage-untar|storage-applyLayer)'
tell_command() {
  [ -r "/proc/$1/cmdline" ] || return 0
  args=$(within_told 30 split "/proc/$1/cmdline")
  case $args in *"$late"*)
    printf '?%s\n' "/proc/$1/cmdline"
    return 0
    ;;
  esac
  name=
  read -r name <"/proc/$1/comm"
  if ! printf '%s\n' "$name" "$args" | sed 4q | grep -qE "^([^[:space:]]*/)?$decompressors\$" && ! printf '%s\n' "$args" | sed 1q | grep -qE "^$untars\$"; then
    case $args in
      *"$newline-d") called=-d ;;
      *"$newline-d$newline-c") called="-d$newline-c" ;;
      *"$newline-d$newline-q") called="-d$newline-q" ;;
      *"$newline-d$newline-c$newline-q") called="-d$newline-c$newline-q" ;;
      *) return 0 ;;
    esac
    args=$name$newline$called
  fi
  printf 'c%s\n' "/proc/$1/cmdline"
  printf '%s\n' "$args" | redact_words | indent
}

# Decompressors and untars of an engine that is gone: somebody else has inherited them.
look_at_orphans() {
  for pid in $(printf '%s\n' "$table" | sed -n -e 's/^.proc.\([0-9]*\).stat:\1 (unpigz) [^Z].*/\1/p' -e 's/^.proc.\([0-9]*\).stat:\1 (pigz) [^Z].*/\1/p' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (igzip) [^Z].*/\1/p' -e 's/^.proc.\([0-9]*\).stat:\1 (xz) [^Z].*/\1/p' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (exe) [^Z].*/\1/p' -e 's/^.proc.\([0-9]*\).stat:\1 (docker-untar) [^Z].*/\1/p' \
    -e 's/^.proc.\([0-9]*\).stat:\1 (storage-untar) [^Z].*/\1/p'); do
    case $family in *" $pid "*) continue ;; esac
    tell_command "$pid"
  done
}

# Whoever else has a pipe of an engine open: it may wait for the end of it.
look_at_holders() {
  pipes=$(for pid in $engines; do show "/proc/$pid/fd"; done 2>/dev/null | grep -o 'pipe:\[[0-9]*\]')
  [ -n "$pipes" ] || return 0
  for path in $(within_told 50 list_open | grep -F "$(printf '/fd:\n%s' "$pipes")" | sed -n -e '/^\/proc\/.*:$/{s/:$//;h;}' \
    -e '/ -> pipe:/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}'); do
    pid=${path#/proc/}
    pid=${pid%%/*}
    case $family in *" $pid "*) continue ;; esac
    links "$path"
    grep -E '^flags:' "/proc/$pid/fdinfo/${path##*/}" /dev/null 2>/dev/null | sed 's/^/t/'
  done
}

# Whoever is asked before a file is opened.
look_at_agents() {
  holders=$(within_told 50 list_open /proc/self/ns | grep -E '^/proc|fanotify')
  printf '%s\n' "$holders" | sed 's/^/l/'
  for path in $(printf '%s\n' "$holders" | sed -n -e '/^\/proc\/.*:$/{s/fd:$/fdinfo/;h;}' \
    -e '/fanotify/{s/.* \([0-9]*\) -> .*/\1/;G;s/\(.*\)\n\(.*\)/\2\/\1/p;}'); do
    texts "$path"
    pid=${path#/proc/}
    pid=${pid%%/*}
    printf 'c%s\n' "/proc/$pid/cmdline"
    words "/proc/$pid/cmdline" | sed 1q
  done
  ls /proc/1/fd >/dev/null 2>&1 || echo '!/proc/1/fd'
}

#: kernel_log and hung_task: see checks/hung-tasks.ts

# Tasks of engines and disks that the kernel has held for minutes, and of its log nothing else.
tell_hung_tasks() {
  printf 'rsh -c %s\n' "$kernel_log"
  sh -c "$kernel_log" | grep -oE -e '^now at [0-9]+ nsecs$' -e "$hung_task" | indent
}

main() {
  echo 'windlass-facts 2'
  printf '=%s\n' "arch $machine" "kernel $(uname -sr)" "ls $how" "uid $own"
  read -r uptime _ </proc/uptime
  printf '=%s\n' "now $(date +%s 2>/dev/null) $uptime" ${only:+"only $only"}
  for name in curl perl stat; do has $name || printf '=missing %s\n' $name; done
  links /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/user /proc/self/root /proc/1/ns/net
  texts /proc/filesystems /proc/pressure/io /proc/pressure/cpu /proc/pressure/memory /proc/sys/kernel/random/entropy_avail \
    /proc/loadavg /proc/meminfo /proc/version /proc/vmstat /proc/uptime /proc/sys/kernel/osrelease /etc/os-release
  tell_mounts self
  look_at_processes
  for pid in $engines; do
    known="$known$pid "
    look_at_engine
  done
  within_told 30 tell_hung_tasks | sed "/^$late\$/d"
  look_at_orphans
  look_at_agents
  look_at_holders
  frames=0
  watched=0
  enough=200
  while :; do
    busy=
    frame
    frames=$((frames + 1))
    now=${uptime%.*}${uptime#*.}
    : "${first:=$now}" "${last:=$now}"
    # Who is held up himself has not watched: such time says nothing about others.
    [ $((now - last)) -gt 200 ] || watched=$((watched + now - last))
    last=$now
    # What goes on is seen in two seconds; what stands still has to be watched.
    [ -z "$busy" ] || enough=800
    [ $watched -lt $enough ] && [ $((now - first)) -lt 3000 ] && [ $frames -lt 80 ] || break
    sleep $tick
  done
  # For the vendor: where the kernel holds them; root only.
  within_told 30 look_at_stacks | sed "/^$late\$/d"
  if [ -n "$engines" ] && has ss; then within_told 30 tell_connections | sed "/^$late\$/d"; fi
  if has curl; then
    for pid in $engines; do
      find_root
      find_sockets
      for socket in $sockets; do
        ask "$pid" "$socket" '/debug/pprof/goroutine?debug=2'
      done
    done
  fi
  echo z
}

only=$1
first=
last=
main </dev/null 2>/dev/null
