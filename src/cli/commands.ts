import type { CommandEntry } from './command.ts'

/** Every command, in the order of the help. A module is loaded only when its command runs: start-up counts. */
export const commandTable: readonly CommandEntry[] = [
  { name: 'pull', summary: 'Pull images from a registry into the store', load: () => import('./commands/pull.ts') },
  { name: 'push', summary: 'Push an image to a registry', load: () => import('./commands/push.ts') },
  { name: 'load', summary: 'Load images from an archive', load: () => import('./commands/load.ts') },
  { name: 'save', summary: 'Save images to an archive', load: () => import('./commands/save.ts') },
  { name: 'copy', summary: 'Copy an image between any two places', load: () => import('./commands/copy.ts') },
  { name: 'sync', summary: 'Copy a list of images', load: () => import('./commands/sync.ts') },
  { name: 'diff', summary: 'Compare the files of two images', load: () => import('./commands/diff.ts') },
  { name: 'get', summary: 'Print a file of an image', load: () => import('./commands/get.ts') },
  { name: 'pack', summary: 'Make an image from a directory', load: () => import('./commands/pack.ts') },
  { name: 'login', summary: 'Keep credentials for a registry', load: () => import('./commands/login.ts') },
  { name: 'logout', summary: 'Forget the credentials for a registry', load: () => import('./commands/logout.ts') },
  { name: 'images', summary: 'List the images in the store', load: () => import('./commands/images.ts') },
  {
    name: 'inspect',
    summary: 'Print all that is known of images, as JSON',
    load: () => import('./commands/inspect.ts'),
  },
  { name: 'tag', summary: 'Give an image one more name', load: () => import('./commands/tag.ts') },
  { name: 'rmi', summary: 'Remove images', load: () => import('./commands/rmi.ts') },
  { name: 'unpack', summary: 'Unpack an image into a directory', load: () => import('./commands/unpack.ts') },
  { name: 'mount', summary: 'Mount an image, or list what is mounted', load: () => import('./commands/mount.ts') },
  { name: 'umount', summary: 'Unmount an image', load: () => import('./commands/umount.ts') },
  {
    name: 'unshare',
    summary: "Run a program where an ordinary user's images can be mounted",
    load: () => import('./commands/unshare.ts'),
  },
  { name: 'gc', summary: 'Free what nothing needs', load: () => import('./commands/gc.ts') },
  {
    name: 'verify',
    summary: 'Check every blob, layer and image of the store',
    load: () => import('./commands/verify.ts'),
  },
  { name: 'info', summary: 'Tell about the store and the host', load: () => import('./commands/info.ts') },
  {
    name: 'doctor',
    summary: 'Explain what holds up the pulls of the engines that run here',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'trace',
    summary: "Run another engine's pull, and show where its time goes",
    load: () => import('./commands/trace.ts'),
  },
  { name: 'explain', summary: 'Tell what a finding or an error means', load: () => import('./commands/explain.ts') },
  { name: 'probe', summary: "Certify this host's decompressors", load: () => import('./commands/probe.ts') },
  { name: 'demo', summary: 'Show a pull from nothing to a verified image', load: () => import('./commands/demo.ts') },
  {
    name: 'completion',
    summary: 'Print a completion script for a shell',
    load: () => import('./commands/completion.ts'),
  },
  { name: 'version', summary: 'Print the version', load: () => import('./commands/version.ts') },
]

/** The command of that name, if there is one. */
export function findCommand(name: string): CommandEntry | undefined {
  return commandTable.find(entry => entry.name === name)
}
