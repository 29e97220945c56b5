/** Where engines keep images. */
import type { Entries } from './entry.ts'

export const disks = {
  DISK_FULL: {
    severity: 'problem',
    en: {
      title: 'The disk under the data root is full, or nearly so',
      meaning: 'A pull needs the compressed layers, the unpacked ones and temporary space at once.',
      advice: ['Remove images that nobody needs (docker image prune), or enlarge the disk.'],
    },
    zh: {
      title: '数据目录所在磁盘已满或将满',
      meaning: '一次拉取同时需要压缩层、解包后的层和临时空间。',
      advice: ['删除不需要的镜像（docker image prune），或扩大磁盘。'],
    },
  },
  INODES_EXHAUSTED: {
    severity: 'problem',
    en: {
      title: 'The filesystem under the data root has hardly any inodes left',
      meaning: 'Every file of a layer needs one; df shows free space all the same (df -i shows inodes).',
      advice: ['Remove images that nobody needs, or make the filesystem anew with more inodes.'],
    },
    zh: {
      title: '数据目录所在文件系统的 inode 几乎用尽',
      meaning: '层中的每个文件都需要一个；df 仍会显示有空闲空间（df -i 显示 inode）。',
      advice: ['删除不需要的镜像，或以更多 inode 重建文件系统。'],
    },
  },
  DISK_FINE: {
    severity: 'ok',
    en: { title: 'The data root has room', meaning: 'Blocks and inodes are free.', advice: [] },
    zh: { title: '数据目录有空间', meaning: '块和 inode 均有空闲。', advice: [] },
  },
  DISK_READ_ONLY: {
    severity: 'problem',
    en: {
      title: 'The filesystem under the data root is read-only',
      meaning: 'It was mounted so, or the kernel made it so after an error.',
      advice: ['Look at dmesg; repair the filesystem, then mount it writable.'],
    },
    zh: {
      title: '数据目录所在文件系统是只读的',
      meaning: '它被如此挂载，或内核在出错后将其变为只读。',
      advice: ['查看 dmesg；修复文件系统后以可写方式挂载。'],
    },
  },
  DISK_SILENT: {
    severity: 'warning',
    en: {
      title: 'The filesystem under the data root does not answer',
      meaning:
        'A plain question about it did not return within five seconds: a very busy disk, a dead network filesystem, a failing device, or an agent that gates access to it.',
      advice: ['Look at dmesg and at the mount; a dead network filesystem may be unmounted with umount -f -l.'],
    },
    zh: {
      title: '数据目录所在文件系统没有应答',
      meaning: '对它的一个简单询问在五秒内没有返回：磁盘非常繁忙、网络文件系统失效、设备故障，或有代理程序拦截访问。',
      advice: ['查看 dmesg 和挂载；失效的网络文件系统可用 umount -f -l 卸载。'],
    },
  },
  DISK_ON_NETWORK: {
    severity: 'warning',
    en: {
      title: 'The data root is on a network filesystem or FUSE',
      meaning:
        'Unpacking writes very many small files; each waits for a server, and for ever if the server is gone. Overlay does not work on most of them.',
      advice: ['Put the data root on a local disk.'],
    },
    zh: {
      title: '数据目录位于网络文件系统或 FUSE 上',
      meaning: '解包会写入大量小文件，每个都要等待服务器；服务器失效时会永远等待。多数此类文件系统不支持 overlay。',
      advice: ['请把数据目录放到本地磁盘。'],
    },
  },
  OVERLAY_MISSING: {
    severity: 'warning',
    en: {
      title: 'The kernel does not offer overlayfs',
      meaning: 'Engines fall back to slow drivers that copy whole layers (vfs) or fail.',
      advice: ['modprobe overlay.'],
    },
    zh: {
      title: '内核没有提供 overlayfs',
      meaning: '引擎会退回到复制整层的慢驱动（vfs）或失败。',
      advice: ['modprobe overlay。'],
    },
  },
} as const satisfies Entries
