/** The programs that engines hand their layers to. */
import { disablePigz, withoutDecompressor } from './advice.ts'
import type { Entries } from './entry.ts'

export const decompressors = {
  DECOMPRESSOR_SETTING_INVALID: {
    severity: 'problem',
    en: {
      title: 'The variable that forbids the decompressor has a value that the engine does not understand',
      meaning:
        'Only 1, t, T, TRUE, true, True and 0, f, F, FALSE, false, False are understood. dockerd 18.02 to 19.03 fails every pull with others; later ones, and containerd, warn in their log and use the decompressor all the same.',
      advice: ['Set it to true, and restart the engine.'],
    },
    zh: {
      title: '用于禁用解压程序的变量的值引擎无法识别',
      meaning:
        '只识别 1、t、T、TRUE、true、True 和 0、f、F、FALSE、false、False。dockerd 18.02 至 19.03 遇到其他值时所有拉取失败；更新的版本和 containerd 只在日志中警告，仍然使用解压程序。',
      advice: ['将其设为 true 并重启引擎。'],
    },
  },
  DECOMPRESSOR_SETTING_IGNORED: {
    severity: 'warning',
    en: {
      title: 'A variable is set that this engine does not read',
      meaning:
        'MOBY_DISABLE_PIGZ is read by dockerd alone, CONTAINERD_DISABLE_PIGZ by containerd and buildkitd alone; podman and CRI-O read neither.',
      advice: ['Set the variable that this engine reads.'],
    },
    zh: {
      title: '设置了该引擎不读取的变量',
      meaning:
        'MOBY_DISABLE_PIGZ 只有 dockerd 读取，CONTAINERD_DISABLE_PIGZ 只有 containerd 和 buildkitd 读取；podman 和 CRI-O 都不读取。',
      advice: ['设置该引擎所读取的变量。'],
    },
  },
  DECOMPRESSOR_FAULTY: {
    severity: 'problem',
    en: {
      title: 'A decompressor that the engine runs failed its probe',
      meaning: 'It hung, or gave wrong bytes, on a stream that it must be able to decompress. Pulls will hang or fail.',
      advice: [disablePigz.en, withoutDecompressor.en],
    },
    zh: {
      title: '引擎使用的解压程序未通过检验',
      meaning: '在它必须能解压的数据流上，它卡住或给出了错误的字节。拉取会卡住或失败。',
      advice: [disablePigz.zh, withoutDecompressor.zh],
    },
  },
  DECOMPRESSOR_UNPROVEN: {
    severity: 'note',
    en: {
      title: 'The engine hands its layers to a program that was not probed',
      meaning: 'Nothing is known against it.',
      advice: ['windlass probe PATH tests it in some seconds.'],
    },
    zh: {
      title: '引擎把层交给一个未经检验的程序',
      meaning: '没有已知的问题。',
      advice: ['windlass probe 路径 可在数秒内检验它。'],
    },
  },
  DECOMPRESSOR_CERTIFIED: {
    severity: 'ok',
    en: {
      title: 'decompressor certified',
      meaning: 'It passed every shape of the probe on this host.',
      advice: [],
    },
    zh: { title: '引擎的解压程序已通过认证', meaning: '它在本机通过了检验的所有形态。', advice: [] },
  },
  DECOMPRESSOR_IN_PROCESS: {
    severity: 'ok',
    en: {
      title: 'decompresses in its own process',
      meaning: 'No program of the host is used for gzip.',
      advice: [],
    },
    zh: { title: '引擎在自身进程内解压', meaning: 'gzip 不使用主机上的程序。', advice: [] },
  },
  DECOMPRESSOR_LEFT_OVER: {
    severity: 'warning',
    en: {
      title: 'A decompressor is left over from a pull that is gone',
      meaning: 'The engine holds no end of its pipes any more: nobody will read what it writes.',
      advice: ['It may be ended.'],
    },
    zh: {
      title: '有解压程序是已消失的拉取遗留下来的',
      meaning: '引擎已不持有其管道的任何一端：没有人会读取它的输出。',
      advice: ['可以结束它。'],
    },
  },
  ZSTD_UNSUPPORTED: {
    severity: 'warning',
    en: {
      title: 'This docker cannot read zstd layers',
      meaning: 'dockerd before 23.0 takes them for plain tars and fails with "archive/tar: invalid tar header".',
      advice: ['Upgrade docker, or let windlass convert the image.'],
    },
    zh: {
      title: '该 docker 无法读取 zstd 层',
      meaning: '23.0 之前的 dockerd 把它们当作普通 tar，报错 "archive/tar: invalid tar header"。',
      advice: ['升级 docker，或用 windlass 转换镜像。'],
    },
  },
  DECOMPRESSORS_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'Something of the decompressor could not be seen',
      meaning: 'A program that would tell it did not answer, or is not there.',
      advice: ['See the evidence; windlass probe PATH tests the program itself.'],
    },
    zh: {
      title: '解压程序的部分情况无法看到',
      meaning: '能说明情况的程序没有应答或不存在。',
      advice: ['见证据；windlass probe 路径 可直接检验该程序。'],
    },
  },
  DECOMPRESSOR_WRITABLE: {
    severity: 'warning',
    en: {
      title: 'Everybody may replace the decompressor that the engine runs as root',
      meaning: 'The file or its directory is open to all.',
      advice: ['chmod o-w on the file and its directory.'],
    },
    zh: {
      title: '任何人都可以替换引擎以 root 运行的解压程序',
      meaning: '该文件或其目录对所有人可写。',
      advice: ['对该文件及其目录执行 chmod o-w。'],
    },
  },
  DECOMPRESSOR_PATH_CACHED: {
    severity: 'warning',
    en: {
      title: 'The decompressor was changed since the engine was started, and the engine may not know',
      meaning:
        'It looks for a decompressor once, at its first layer. If that one is gone, every pull fails with "fork/exec: no such file or directory".',
      advice: ['Restart the engine.'],
    },
    zh: {
      title: '解压程序在引擎启动后被更换，引擎可能并不知道',
      meaning:
        '它只在处理第一层时查找一次解压程序。若那个程序已不在，所有拉取都会报 "fork/exec: no such file or directory"。',
      advice: ['重启引擎。'],
    },
  },
  DECOMPRESSOR_LIBRARY_CHOSEN: {
    severity: 'note',
    en: {
      title: 'The engine’s environment chooses libraries for its decompressor',
      meaning: 'LD_LIBRARY_PATH or LD_PRELOAD of the engine hold for what it starts, too.',
      advice: ['windlass probe tests the program without them.'],
    },
    zh: {
      title: '引擎的环境为其解压程序指定了库',
      meaning: '引擎的 LD_LIBRARY_PATH 或 LD_PRELOAD 对它启动的程序也有效。',
      advice: ['windlass probe 会在没有它们的情况下检验该程序。'],
    },
  },
  ZLIB_UNUSUAL: {
    severity: 'note',
    en: {
      title: 'The decompressor uses a zlib that is not the plain one',
      meaning:
        'Faster builds of zlib use code of the processor, or a device. Some versions gave wrong bytes to pigz. Nothing is known against this very one.',
      advice: ['windlass probe PATH tests the shapes that broke them.'],
    },
    zh: {
      title: '解压程序使用的不是普通 zlib',
      meaning: '加速版 zlib 使用处理器特有代码或硬件设备。某些版本曾让 pigz 得到错误字节。对当前这个没有已知问题。',
      advice: ['windlass probe 路径 会检验曾使其出错的数据形态。'],
    },
  },
  PIGZ_REFUSES_ZLIB: {
    severity: 'problem',
    en: {
      title: 'This pigz refuses this zlib: every pull fails',
      meaning: 'pigz to 2.7 cannot read the version "1.3" of zlib: "zlib version less than 1.2.3", exit status 22.',
      advice: [
        'Upgrade pigz to 2.8, or zlib to 1.3.1.',
        'Keep the engine from using it: MOBY_DISABLE_PIGZ=true for dockerd, CONTAINERD_DISABLE_PIGZ=true for containerd, then a restart.',
      ],
    },
    zh: {
      title: '该 pigz 拒绝当前 zlib：所有拉取都会失败',
      meaning: '2.7 及以前的 pigz 读不懂 zlib 的版本号 "1.3"："zlib version less than 1.2.3"，退出状态 22。',
      advice: [
        '将 pigz 升级到 2.8，或将 zlib 升级到 1.3.1。',
        '禁止引擎使用它：为 dockerd 设置 MOBY_DISABLE_PIGZ=true，为 containerd 设置 CONTAINERD_DISABLE_PIGZ=true，然后重启。',
      ],
    },
  },
  DECOMPRESSOR_VERSION: {
    severity: 'ok',
    en: { title: 'versions fit', meaning: 'pigz and zlib get along with each other.', advice: [] },
    zh: { title: '版本匹配', meaning: 'pigz 与 zlib 相互兼容。', advice: [] },
  },
  DECOMPRESSOR_UNOWNED: {
    severity: 'note',
    en: {
      title: 'No package owns the decompressor',
      meaning: 'It was put there by hand or by a script: a shim, or a build of one’s own.',
      advice: ['Make sure who put it there, and why.'],
    },
    zh: {
      title: '解压程序不属于任何软件包',
      meaning: '它是手工或由脚本放置的：垫片，或自行编译。',
      advice: ['请确认是谁、为何放置。'],
    },
  },
  DECOMPRESSOR_ALTERED: {
    severity: 'warning',
    en: {
      title: 'Files of the decompressor’s package are not as it was installed',
      meaning: 'They were replaced or damaged since.',
      advice: ['Install the package again, or make sure who changed them, and why.'],
    },
    zh: {
      title: '解压程序所属软件包的文件与安装时不同',
      meaning: '它们后来被替换或损坏。',
      advice: ['重新安装该软件包，或确认是谁、为何修改。'],
    },
  },
  DECOMPRESSOR_INTACT: {
    severity: 'ok',
    en: {
      title: 'package intact',
      meaning: 'Its files are as the package brought them. That says nothing about faults of the package itself.',
      advice: [],
    },
    zh: { title: '软件包完整', meaning: '其文件与软件包提供的一致。这并不说明软件包本身没有缺陷。', advice: [] },
  },
} as const satisfies Entries
