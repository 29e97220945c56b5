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
    en: { title: 'has room', meaning: 'Blocks and inodes are free.', advice: [] },
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
  DISKS_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'Something of the disk could not be seen',
      meaning:
        'What would tell it failed, is not allowed to this user, or was not asked for want of other answers: the evidence tells which.',
      advice: [
        'Where it is not allowed: run it as root. Where nothing was asked: see to the files that did not answer, and run it again.',
      ],
    },
    zh: {
      title: '磁盘的部分情况无法看到',
      meaning: '能说明情况的操作失败、该用户无权执行，或因其他问题没有应答而未被询问：证据说明是哪一种。',
      advice: ['若无权执行：请以 root 运行。若未被询问：先处理没有应答的文件，然后再次运行。'],
    },
  },
  FILES_UNANSWERED: {
    severity: 'note',
    en: {
      title: 'Files did not answer in time',
      meaning:
        'A plain question about them did not return within a second or two: a busy host or disk, or something that gates access to them. What they would have told is missing here, and nothing is concluded from that.',
      advice: ['Run it again when the host is less busy.'],
    },
    zh: {
      title: '有文件没有及时应答',
      meaning:
        '对它们的简单询问在一两秒内没有返回：主机或磁盘繁忙，或有程序拦截访问。它们本可说明的内容在此缺失，也不据此下任何结论。',
      advice: ['请在主机不那么繁忙时再运行一次。'],
    },
  },
  D_TYPE_MISSING: {
    severity: 'problem',
    en: {
      title: 'The filesystem under the data root does not tell the types of entries (d_type)',
      meaning:
        'overlayfs needs it: engines refuse the driver, fall back to a slow one, or lose deletions of layers. XFS made with ftype=0 has it not.',
      advice: [
        'Make the filesystem anew with mkfs.xfs -n ftype=1 (the default since 2015), or put the data root elsewhere.',
      ],
    },
    zh: {
      title: '数据目录所在文件系统不提供目录项类型（d_type）',
      meaning: 'overlayfs 需要它：引擎会拒绝该驱动、退回慢驱动，或丢失层中的删除标记。以 ftype=0 创建的 XFS 没有它。',
      advice: ['用 mkfs.xfs -n ftype=1（2015 年起为默认）重建文件系统，或把数据目录移到别处。'],
    },
  },
  OVERLAY_UNFIT: {
    severity: 'warning',
    en: {
      title: 'overlayfs does not work on the filesystem under the data root',
      meaning: 'Engines fall back to slow drivers that copy whole layers (vfs, native), or fail.',
      advice: ['Put the data root on ext4 or XFS; in a container, on a volume.'],
    },
    zh: {
      title: '数据目录所在文件系统不支持 overlayfs',
      meaning: '引擎会退回复制整层的慢驱动（vfs、native）或失败。',
      advice: ['把数据目录放到 ext4 或 XFS；在容器内则放到卷上。'],
    },
  },
  STORAGE_DRIVER_SLOW: {
    severity: 'warning',
    en: {
      title: 'docker uses a slow storage driver',
      meaning: 'It chose one that works where overlay2 did not, or that an old configuration names.',
      advice: [
        'Find out why overlay2 was not taken (docker info, the log of the daemon); changing it hides the images that are there.',
      ],
    },
    zh: {
      title: 'docker 使用了慢速存储驱动',
      meaning: 'overlay2 不可用时它选择了能用的驱动，或由旧配置指定。',
      advice: ['查明为何没有采用 overlay2（docker info、守护进程日志）；更换后现有镜像将不可见。'],
    },
  },
  SYNC_SLOW: {
    severity: 'warning',
    en: {
      title: 'The disk takes long to make a small file durable',
      meaning: 'Engines sync for each layer, some for each file. With this disk a pull looks as if it hung at its end.',
      advice: ['Look at what else writes, at the device (SMART), and at the limits of the volume in a cloud.'],
    },
    zh: {
      title: '磁盘落盘小文件很慢',
      meaning: '引擎每层都要同步，有的每个文件都要。在这样的磁盘上，拉取会在末尾看起来像卡住。',
      advice: ['检查还有谁在写、设备状况（SMART）以及云盘的性能上限。'],
    },
  },
  SYNC_FAST: {
    severity: 'ok',
    en: { title: 'syncs quickly', meaning: 'A small file was on the disk in good time.', advice: [] },
    zh: { title: '同步迅速', meaning: '小文件及时落盘。', advice: [] },
  },
} as const satisfies Entries
