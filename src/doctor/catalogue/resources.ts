/** What control groups and limits allow. */
import type { Entries } from './entry.ts'

export const resources = {
  OOM_KILLS: {
    severity: 'warning',
    en: {
      title: 'The kernel has killed processes of the engine’s control group for want of memory',
      meaning: 'A decompressor or an untar that is killed ends a pull with "unexpected EOF" or "signal: killed".',
      advice: ['Raise the memory limit of the engine’s unit.'],
    },
    zh: {
      title: '内核因内存不足杀死过引擎控制组中的进程',
      meaning: '被杀的解压程序或 untar 会使拉取以 "unexpected EOF" 或 "signal: killed" 结束。',
      advice: ['提高引擎单元的内存上限。'],
    },
  },
  MEMORY_NEARLY_FULL: {
    severity: 'warning',
    en: {
      title: 'The engine’s control group has hardly any memory left',
      meaning: 'Near its limit the kernel reclaims memory all the time, which slows everything in the group down.',
      advice: ['Raise the memory limit of the engine’s unit.'],
    },
    zh: {
      title: '引擎所在控制组的内存所剩无几',
      meaning: '接近上限时内核会不断回收内存，使组内一切变慢。',
      advice: ['提高引擎单元的内存上限。'],
    },
  },
  CPU_THROTTLED: {
    severity: 'warning',
    en: {
      title: 'The engine’s control group is throttled by its CPU quota',
      meaning: 'Its processes stand still for a part of every period, although processors are free.',
      advice: ['Raise CPUQuota of the engine’s unit.'],
    },
    zh: {
      title: '引擎所在控制组被 CPU 配额限流',
      meaning: '其进程在每个周期中都有一部分时间停着，尽管处理器空闲。',
      advice: ['提高引擎单元的 CPUQuota。'],
    },
  },
  DISK_PRESSURE: {
    severity: 'note',
    en: {
      title: 'Tasks of this host wait for disks much of their time',
      meaning: 'The kernel’s own measure (pressure stall information, io full) of the last ten seconds is high.',
      advice: ['See what writes (iotop), and whether the disk is as fast as it should be.'],
    },
    zh: {
      title: '本机任务有大量时间在等待磁盘',
      meaning: '内核自己的度量（PSI，io full）最近十秒偏高。',
      advice: ['查看谁在写入（iotop），以及磁盘是否达到应有速度。'],
    },
  },
  RESOURCES_FINE: {
    severity: 'ok',
    en: {
      title: 'no limit is reached',
      meaning: 'No control group of an engine is at its limit.',
      advice: [],
    },
    zh: { title: '内存和处理器未受限', meaning: '没有引擎的控制组到达上限。', advice: [] },
  },
  MEMORY_PRESSURE: {
    severity: 'warning',
    en: {
      title: 'Tasks of this host wait for memory much of their time',
      meaning:
        'The kernel’s own measure (pressure stall information, memory full) of the last ten seconds is high: it reclaims and swaps.',
      advice: ['Free memory, or stop what takes it.'],
    },
    zh: {
      title: '本机任务有大量时间在等待内存',
      meaning: '内核自己的度量（PSI，memory full）最近十秒偏高：正在回收和换页。',
      advice: ['释放内存，或停止占用内存的程序。'],
    },
  },
  HOST_OOM_KILLS: {
    severity: 'note',
    en: {
      title: 'The kernel has killed processes on this host for want of memory',
      meaning: 'Since the boot, in any control group. dmesg tells which.',
      advice: ['dmesg | grep -i oom'],
    },
    zh: {
      title: '内核曾因内存不足在本机杀死进程',
      meaning: '自启动以来，任意控制组。dmesg 会说明是哪些。',
      advice: ['dmesg | grep -i oom'],
    },
  },
  FILES_NEARLY_EXHAUSTED: {
    severity: 'warning',
    en: {
      title: 'The engine has nearly as many files open as it may',
      meaning: 'When it reaches the limit, pulls and containers fail with "too many open files".',
      advice: ['Raise LimitNOFILE of its unit, and restart it; find out what keeps so many open.'],
    },
    zh: {
      title: '引擎打开的文件数接近上限',
      meaning: '到达上限后，拉取和容器会报 "too many open files"。',
      advice: ['提高其单元的 LimitNOFILE 并重启；查明为何打开这么多。'],
    },
  },
  TASKS_NEARLY_EXHAUSTED: {
    severity: 'warning',
    en: {
      title: 'The engine’s control group has nearly as many tasks as it may, or was refused one',
      meaning:
        'A decompressor or a thread that cannot be started fails the pull with "resource temporarily unavailable", or ends the daemon.',
      advice: ['Raise TasksMax of its unit (docker’s own is infinity).'],
    },
    zh: {
      title: '引擎控制组的任务数接近上限，或曾被拒绝',
      meaning: '无法启动解压程序或线程时，拉取会报 "resource temporarily unavailable"，或守护进程退出。',
      advice: ['提高其单元的 TasksMax（docker 自带的是 infinity）。'],
    },
  },
  RESOURCES_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'The limits of the engine cannot be seen',
      meaning: 'Its control groups are not where this process could read them.',
      advice: ['Run windlass doctor as root on the host itself, not in a container.'],
    },
    zh: {
      title: '无法看到引擎的资源上限',
      meaning: '其控制组不在本进程可读取的位置。',
      advice: ['请在主机本身（而非容器内）以 root 运行 windlass doctor。'],
    },
  },
} as const satisfies Entries
