/** Layers as builders make them: each step runs in an overlay above the ones before, and what it changed becomes a tar. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { runScript } from './command.ts'

export interface LayerStep {
  /** The tar becomes `NAME.tar`. */
  readonly name: string
  /** Shell, run in the merged root; `chroot . COMMAND` runs what is installed there. */
  readonly script: string
}

/** Archive names keep GNU tar's `./`, times keep their nanoseconds; what depends on the moment of packing is left out. */
const packScript = `tar --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name
  --xattrs --xattrs-include='*' --xattrs-exclude='trusted.overlay.*' -C "$1" -cf "$2" .`.replace(/\n\s*/g, ' ')

/** Half an hour: a step may install gigabytes of packages. */
const stepMs = 1_800_000

/** Packs a directory as it stands. */
export async function packTree(directory: string, tar: string): Promise<void> {
  await runScript(packScript, [directory, tar], { timeoutMs: stepMs })
}

/**
 * Runs the steps above `base`, a root filesystem that stays as it is.
 * @param directory gets the tars; it must lie on a filesystem that overlayfs takes as upper layer
 * @returns the tars in the order of the steps, whiteouts in the form of the image specification
 */
export async function stackLayers(directory: string, base: string, steps: readonly LayerStep[]): Promise<string[]> {
  const lower = [base]
  for (const { name, script } of steps) {
    const upper = join(directory, `${name}.upper`)
    for (const suffix of ['upper', 'work', 'merged']) await mkdir(join(directory, `${name}.${suffix}`))
    await runScript(`${overlayScript}\n${script}`, [lower.join(':'), join(directory, name)], {
      timeoutMs: stepMs,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
    })
    lower.unshift(upper)
  }
  for (const { name } of steps) {
    await runScript(whiteoutScript, [join(directory, `${name}.upper`)], { timeoutMs: stepMs })
    await packTree(join(directory, `${name}.upper`), join(directory, `${name}.tar`))
    for (const suffix of ['upper', 'work', 'merged']) {
      await rm(join(directory, `${name}.${suffix}`), { recursive: true, force: true })
    }
  }
  return steps.map(({ name }) => join(directory, `${name}.tar`))
}

const overlayScript = `
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$2.upper,workdir=$2.work" "$2.merged"
  merged=$2.merged
  trap 'cd /; umount "$merged"' EXIT
  cd "$merged"`

/** From overlayfs's form of whiteouts (device 0:0, opaque attribute) to the image specification's (.wh. names). */
const whiteoutScript = `
  cd "$1"
  find . -type c | while read -r path; do
    [ "$(stat -c %t:%T "$path")" = 0:0 ] || continue
    parent=$(dirname "$path"); stamp=$(stat -c %.9Y "$parent")
    rm "$path"; : >"$parent/.wh.$(basename "$path")"; touch -d "@$stamp" "$parent"
  done
  getfattr --absolute-names -R -m '^trusted\\.overlay\\.opaque$' . | sed -n 's/^# file: //p' | while read -r path; do
    stamp=$(stat -c %.9Y "$path"); : >"$path/.wh..wh..opq"; touch -d "@$stamp" "$path"
  done`
