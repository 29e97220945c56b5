import { WindlassError } from '../errors.ts'
import { AT_FDCWD, cPath, lsetxattr, makedev, mkdirat, mknodat, SystemError } from '../sys/libc.ts'
import { opaqueXattr } from '../sys/mounts.ts'
import { S_IFCHR, S_IFDIR, S_IFMT } from './file-type.ts'
import { baseName, parentName } from './names.ts'
import { IMPLIED_MODE, type Tree } from './tree.ts'

/** What a whiteout does where the layer is being unpacked. */
export interface Union {
  /** Hides `name` of the layers below; what this layer itself has there stays. */
  whiteout(name: string): void
  /** Hides all that the layers below have in the directory. */
  opaque(directory: string): void
  /** The layer itself has this name. */
  made(name: string): void
}

const opaqueName = cPath(opaqueXattr)
const opaqueValue = Buffer.from('y')
const NO_DEVICE = makedev(0, 0)

/** Marks a directory, also one that a symlink leads to, as hiding its lower namesake (kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"). */
export function setOpaque(tree: Tree, directory: string): void {
  lsetxattr(tree.inside(directory), opaqueName, opaqueValue)
}

/** True for the character device 0:0 that stands for a whiteout in an overlay's layer. */
export function isOverlayWhiteout(stat: { mode: number; rdev: bigint }): boolean {
  return (stat.mode & S_IFMT) === S_IFCHR && stat.rdev === NO_DEVICE
}

/** The only device that the kernel lets everybody make, since Linux 5.8. */
function makeWhiteout(directory: number, base: Buffer): void {
  try {
    mknodat(directory, base, S_IFCHR, NO_DEVICE)
  } catch (error) {
    if (!(error instanceof SystemError && error.code === 'EPERM')) throw error
    const message = 'Cannot make a whiteout: this kernel lets nobody but root; wanted root, or Linux 5.8'
    throw new WindlassError('UNSUPPORTED', message, { cause: error })
  }
}

/** A layer by itself, to be mounted by overlayfs: whiteouts take the kernel's form. */
export function overlayUnion(tree: Tree): Union {
  // A whiteout that gets children becomes a directory that hides its lower namesake. It is new, so it adopts nothing.
  tree.givesWay = (name, stat) => {
    if (!isOverlayWhiteout(stat)) return false
    tree.remove(name)
    mkdirat(AT_FDCWD, tree.path(name), IMPLIED_MODE)
    setOpaque(tree, name)
    return true
  }
  return {
    whiteout(name) {
      const directory = tree.openDirectory(parentName(name))
      const stat = tree.lstat(name)
      if (stat === undefined) makeWhiteout(directory.fd, cPath(baseName(name), 'latin1'))
      else if ((stat.mode & S_IFMT) === S_IFDIR) {
        setOpaque(tree, name)
        tree.implied.delete(name)
      }
    },
    opaque(directory) {
      tree.openDirectory(directory)
      setOpaque(tree, directory)
    },
    made() {},
  }
}

/** All layers over each other in one tree: a whiteout removes what the layers below left, but nothing of its own layer. */
export function flatUnion(tree: Tree): Union {
  const own = new Set<string>([''])
  // Directories that hold nothing of the layers below any more: a layer that says so a million times must not cost a million searches.
  const cleared = new Set<string>()
  const removeLower = (name: string): void => {
    const stat = tree.lstat(name)
    if (stat === undefined) return
    tree.keepFacts(parentName(name))
    if (!own.has(name)) tree.remove(name)
    else if ((stat.mode & S_IFMT) === S_IFDIR) removeChildren(name)
  }
  const removeChildren = (directory: string): void => {
    if (cleared.has(directory)) return
    cleared.add(directory)
    for (const child of tree.children(directory)) removeLower(directory === '' ? child : `${directory}/${child}`)
  }
  // What a layer below left is hidden by a directory of this layer, also by one that nothing describes.
  tree.givesWay = name => {
    if (own.has(name)) return false
    tree.remove(name)
    return true
  }
  return {
    whiteout(name) {
      if (!isWithin(name, cleared)) removeLower(name)
    },
    opaque(directory) {
      if (isWithin(directory, cleared)) return
      if (((tree.lstat(directory)?.mode ?? 0) & S_IFMT) === S_IFDIR) removeChildren(directory)
    },
    made(name) {
      for (let part = name; !own.has(part); part = parentName(part)) own.add(part)
    },
  }
}

function isWithin(name: string, directories: ReadonlySet<string>): boolean {
  if (directories.size === 0) return false
  for (let part = name; part !== ''; part = parentName(part)) if (directories.has(part)) return true
  return directories.has('')
}
