/** The same image as other tools see it: what windlass is measured against. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { run, runScript } from './command.ts'
import type { TestDocker } from './dockerd.ts'

/** Unpacks an image of a layout with umoci. @returns the root filesystem */
export async function unpackWithUmoci(layout: string, name: string, bundle: string): Promise<string> {
  await run('umoci', ['unpack', '--image', `${layout}:${name}`, bundle])
  return join(bundle, 'rootfs')
}

/**
 * Unpacks layers with GNU tar, one over the other. What a layer whites out is removed first, so that order within a
 * layer does not matter: tar knows nothing of whiteouts.
 */
export async function unpackWithTar(tars: readonly string[], directory: string): Promise<string> {
  await mkdir(directory, { recursive: true })
  for (const tar of tars) await runScript(applyScript, [tar, directory])
  return directory
}

const applyScript = `
  cd "$2"
  tar -tf "$1" --quoting-style=literal --wildcards '*.wh.*' 2>/dev/null | while read -r path; do
    parent=$(dirname "$path"); name=$(basename "$path")
    if [ "$name" = .wh..wh..opq ]; then find "$parent" -mindepth 1 -delete 2>/dev/null || true; else rm -rf "$parent/\${name#.wh.}"; fi
  done
  tar -xpf "$1" --numeric-owner --same-owner --xattrs --xattrs-include='*' --exclude='.wh.*'`

/** Mounts what docker would give a container of the image, read-only, from the directories that it names itself. */
export async function mountAsDocker(docker: TestDocker, reference: string, target: string): Promise<void> {
  const data = JSON.parse(await docker.docker(['image', 'inspect', '-f', '{{json .GraphDriver.Data}}', reference]))
  const { LowerDir, UpperDir } = data as { LowerDir?: string; UpperDir: string }
  await mkdir(target, { recursive: true })
  if (LowerDir === undefined) await run('mount', ['-o', 'bind,ro', UpperDir, target])
  else await run('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${UpperDir}:${LowerDir}`, target])
}
